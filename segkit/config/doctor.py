"""Options of ``segkit doctor``."""

from dataclasses import dataclass

from segkit.config.fields import CommandConfig, argument, option


@dataclass(frozen=True, kw_only=True, slots=True)
class DoctorConfig(CommandConfig):
    """Options of a check of the machine and a folder."""

    folder: str = argument(".", help="The folder with your pictures or runs.", metavar="FOLDER")
    report: bool = option(
        False, help="Print a block of text for a bug report on stdout: versions and what was found, without names of "
        "users, folders or files.",
    )  # fmt: skip
    strict: bool = option(False, help="Exit with code 3 for notes, too, not only for problems.")
