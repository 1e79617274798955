"""Copies of a study's current artifacts in an object store (S3) or in another folder, and back.

    <mirror>/mirror.json                                             which store it is the mirror of
    <mirror>/<stage>/<asset>/[<partition>/]<fingerprint>/<sha256>    a file, by its hash; notes and quarantine too
    <mirror>/<stage>/<asset>/[<partition>/]<fingerprint>/index.json  written last, read first: which files there are, their hashes

Object stores know neither locks nor renames of folders, which publishing in one step needs. So the store stays a folder, and a
mirror is made equal to what is current in it. In a mirror, files without an index are no artifact. An object with the hash and the
size of a file is that file: what is there is not copied again.
"""
