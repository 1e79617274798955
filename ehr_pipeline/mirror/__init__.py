"""Copies of a study's current artifacts in an object store (S3) or in another folder, and back.

    <mirror>/mirror.json                                             identifies the store that this mirror belongs to
    <mirror>/<stage>/<asset>/[<partition>/]<fingerprint>/<sha256>    a file, named by its hash; includes notes and quarantine
    <mirror>/<stage>/<asset>/[<partition>/]<fingerprint>/index.json  written last, read first: lists the files and their hashes

Publishing in one step needs locks and renames of folders, which object stores do not have. So the store stays a folder,
and a mirror is made equal to the store's current artifacts. In a mirror, files without an index do not count as an
artifact. An object with the hash and size of a file is taken to be that file, and is not copied again.
"""
