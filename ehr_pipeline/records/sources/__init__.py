"""Where an extract may come from: one module per source.

A source turns its options into the kinds of files of an extract (`ehr_pipeline.records.kinds.Kinds`); checking,
counting and rejecting rows is the same for all. To add a source, write a settings class with a method `kinds`, and add
its field and its name to `RecordsSettings`.
"""
