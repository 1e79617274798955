"""Take the picture of the README and the docs anew: the first screen of the demo's report, after `make demo`.

python -m ehr_pipeline_tests.report_picture
"""

import tempfile
from pathlib import Path

from PIL import Image

from ehr_pipeline_tests.conftest import ROOT
from ehr_pipeline_tests.defs.browser import chromium
from ehr_pipeline_tests.processes import until

REPORT, PICTURE = ROOT / "data/studies/demo/store/report.html", ROOT / "docs/report.png"

COLOURS = 256  # a third of the bytes; chosen by octree, since the median cut gave two clusters of the list one colour


def main() -> None:
    """Open the report, and save what is seen at 1280 × 900."""
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as page:
        page.command("Emulation.setDeviceMetricsOverride", width=1280, height=900, deviceScaleFactor=1, mobile=False)
        page.command("Emulation.setScrollbarsHidden", hidden=True)
        page.open(f"file://{REPORT.resolve()}")
        assert until(lambda: page.value("document.documentElement.classList.contains('js')") is True, 60), REPORT
        page.picture(PICTURE)
    Image.open(PICTURE).convert("RGB").quantize(COLOURS, method=Image.Quantize.FASTOCTREE).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
