"""Print how many measures a YAML file has, and their mean."""
import sys
from pathlib import Path

import yaml

measures = yaml.safe_load(Path(sys.argv[1]).read_text())
values = [measure["value"] for measure in measures]
print(f"measures: {len(values)}")
print(f"mean: {sum(values) / len(values):.2f}")
