"""Copy kernel modules and what they depend on into a folder, and write the order in which they load."""

import lzma
import sys
from pathlib import Path


def plain_name(path: str) -> str:
    """Return a module's name: `kernel/fs/isofs/isofs.ko.xz` is `isofs`, and `-` is `_`."""
    return Path(path).name.partition(".ko")[0].replace("-", "_")


tree, target, wanted = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]
(folder,) = tree.iterdir()
depends = {}
for line in (folder / "modules.dep").read_text().splitlines():
    module, _, rest = line.partition(":")
    depends[module] = rest.split()
paths = {plain_name(path): path for path in depends}
order: dict[str, None] = {}
for name in wanted:
    path = paths.get(name.replace("-", "_"))
    if path and (folder / path).exists():
        order.update(dict.fromkeys([*reversed(depends[path]), path]))
for path in order:
    content = (folder / path).read_bytes()
    if path.endswith(".xz"):
        content = lzma.decompress(content)
    (target / f"{plain_name(path)}.ko").write_bytes(content)
(target / "order").write_text("".join(f"{plain_name(path)}.ko\n" for path in order))
