"""The names of the categories of a YOLO folder: ``names`` of a YAML file, or ``classes.txt``."""

from pathlib import Path


def read_names(root: Path) -> dict[int, str]:
    """Category names by number."""
    import yaml  # noqa: PLC0415 -- few conversions need it

    for path in sorted([*root.glob("*.yaml"), *root.glob("*.yml")]):
        try:
            names = yaml.safe_load(path.read_text(encoding="utf-8")).get("names")
        except (OSError, ValueError, AttributeError, yaml.YAMLError):
            continue
        if isinstance(names, list):
            return {number: str(name) for number, name in enumerate(names)}
        if isinstance(names, dict) and all(isinstance(number, int) for number in names):
            return {number: str(name) for number, name in names.items()}
    for path in (root / "classes.txt", root / "labels" / "classes.txt"):
        if path.is_file():
            lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
            return {number: name for number, line in enumerate(lines) if (name := line.strip())}
    return {}
