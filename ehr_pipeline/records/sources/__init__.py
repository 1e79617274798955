"""Where an extract may come from: one file for each source.

A source turns its options into the kinds of files that an extract has (`ehr_pipeline.records.kinds.Kinds`); how rows are checked,
counted and rejected is the same for all. A new one is a settings class with a method `kinds`, and its field and name in
`RecordsSettings`.
"""
