"""Write what nixpkgs' closureInfo writes: store-paths, registration, total-nar-size."""

import json
import sys
from pathlib import Path

attrs, out = Path(sys.argv[1]), Path(sys.argv[2])
closure = json.loads(attrs.read_text())["closure"]
out.mkdir()
(out / "total-nar-size").write_text(f"{sum(entry['narSize'] for entry in closure)}\n")
(out / "store-paths").write_text("".join(f"{entry['path']}\n" for entry in closure))
with (out / "registration").open("w") as registration:
    for entry in closure:
        references = entry["references"]
        fields = (entry["path"], entry["narHash"], entry["narSize"], "", len(references), *references)
        registration.writelines(f"{value}\n" for value in fields)
