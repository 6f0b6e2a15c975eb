"""The text encoding of LabelMe files: UTF-8, or a code page that has to be guessed."""

import re

# Before 4.5.2 LabelMe wrote in the code page of the operating system.
_CODE_PAGES = ["cp1252", "cp932", "cp949", "big5", "cp1251", "cp1250"]


def decode_text(data: bytes) -> tuple[str, str | None]:
    """Decode a file; returns its text and the encoding, None for UTF-8."""
    try:
        return data.decode("utf-8"), None
    except UnicodeDecodeError:
        pass
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", errors="replace"), "utf-16"
    code_page = _guess_code_page(data)
    return data.decode(code_page, errors="replace"), code_page


def _guess_code_page(data: bytes) -> str:
    """GB 18030 where all runs of non-ASCII bytes have even length and decode; else by statistics."""
    runs = re.findall(rb"[\x80-\xff]+", data)
    if all(len(run) % 2 == 0 for run in runs):
        try:
            data.decode("gb18030")
            return "gb18030"
        except UnicodeDecodeError:
            pass
    import charset_normalizer  # noqa: PLC0415 -- few files need it, and every process would load it

    # Embedded images are ASCII and would distort the statistics.
    text = b" ".join(word for word in data.split(b'"') if len(word) < 2000)
    best = charset_normalizer.from_bytes(text, cp_isolation=_CODE_PAGES).best()
    return best.encoding if best else "cp1252"
