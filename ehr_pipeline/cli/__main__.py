"""`python -m ehr_pipeline.cli`."""

from ehr_pipeline.cli import main

raise SystemExit(main())
