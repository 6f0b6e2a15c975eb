"""Which code page texts are in that are not UTF-8: by how likely their characters are in each.

Labels are short, and many bytes are valid in several code pages; all texts of a dataset are judged together. Each
character has a probability: Hangul by its letters (jamo), Chinese characters by the level of the national standard that
they are in, kana and accented letters by kind. The code page under which the texts are most likely is taken, and it is
said if another one is nearly as likely.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import NamedTuple

_ASCII, _ODD = -3.0, -16.0  # natural logarithms of probabilities; _ODD: of a character that nobody expects
_DOUBT = 4.0  # how much likelier the code page must be than the next
_TOKEN = re.compile(rb'["\r\n]')  # what never is a part of a character of several bytes
_LONGEST, _MOST = 400, 3000  # bytes of a text, and texts, that are judged

# How often each letter of a Hangul syllable occurs, in percent, in the order of Unicode.
_INITIAL = (12, 1, 8, 8, 1, 8, 6, 5, 0.5, 10, 0.7, 18, 8, 0.4, 3, 1.5, 2.5, 3, 7)
_VOWEL = (19, 4.5, 0.3, 0.02, 10, 4, 5, 0.8, 10, 2, 0.5, 1.5, 1.8, 7, 0.7, 0.1, 0.9, 1, 9.5, 1.2, 19)
_FINAL = (47, 6.5, 0.1, 0.05, 14, 0.05, 0.2, 0.3, 9.5, 0.2, 0.1, 0.1, 0.01, 0.02, 0.01, 0.1, 5, 1.8, 0.3, 1.2, 1, 10)
_FINAL_REST = (0.4, 0.2, 0.1, 0.3, 0.4, 0.3)

_COMMON = {  # letters beyond ASCII that the languages of a code page need, the frequent ones first
    "cp1252": "éèäöüßàáíóúñçãõêâôåøæëïîûùìòœÉÈÄÖÜÅØÆÑÇ°²³µ",
    "cp1250": "íáéřěščžýůúłąęóżśćńźťďňőűöüäßşţăĺľŠŽČŘĚÍÁÝŁŻŚĆŹĄĘ",
    "cp1251": "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъёіїєґўљњћџђ",
    "cp1253": "αοιετσνηυρπκμλςωδγχθόάίέήφβύώξζψϊϋΐΰ",
    "cp1254": "ıüşğöçİâÜŞÖÇĞîû",
    "cp1255": "יוהלארתבשמםנכדחעפקטגןצזסףץך",
    "cp1256": "اليمونرتبةعدسفهكقأحجشصىخإطذضئثزغءؤآظ",
}
_MIXED = 4.0  # less likely is a letter of a script of its own beside a Latin one
_RARE = 4.0  # how much likelier the texts of code pages that are seldom met must be than those of others


class Guess(NamedTuple):
    """The code page of texts, and another that is nearly as likely and reads them differently, if there is one."""

    code_page: str
    other: str | None = None


def guess_code_page(files: Iterable[bytes]) -> Guess | None:
    """The code page of files that are not UTF-8; None where they have nothing that tells.

    Args:
        files: Their content, or parts of it. They are judged together.
    """
    tokens = _tokens(files)
    if not tokens:
        return None
    scores = sorted(((_score(tokens, name) - _RARE * (name in _SELDOM), name) for name in _LIKELIHOODS), reverse=True)
    best, name = scores[0]
    rivals = (other for score, other in scores[1:] if best - score < _DOUBT and _differ(tokens, name, other))
    return Guess(name, next(rivals, None))


def _tokens(files: Iterable[bytes]) -> list[bytes]:
    """The different texts that are not ASCII."""
    found: dict[bytes, None] = {}
    for data in files:
        for token in _TOKEN.split(data):
            if not token.isascii() and len(token) <= _LONGEST:
                found[token.strip()] = None
                if len(found) >= _MOST:
                    return list(found)
    return list(found)


def _score(tokens: Iterable[bytes], name: str) -> float:
    """The logarithm of the probability of texts in a code page."""
    likelihood, total, own_script = _LIKELIHOODS[name], 0.0, name in _SCRIPTS
    for token in tokens:
        text = token.decode(name, errors="replace")
        before = ""
        for character in text:
            if character.isascii():
                total += _ASCII - _MIXED * (own_script and before > "\x7f" and before.isalpha() and character.isalpha())
            elif character == "\ufffd":
                total += 2 * _ODD
            else:
                total += likelihood(character, before)
            before = character
    return total


def _differ(tokens: Iterable[bytes], one: str, other: str) -> bool:
    return any(token.decode(one, "replace") != token.decode(other, "replace") for token in tokens)


def _korean(character: str, before: str) -> float:
    index = ord(character) - 0xAC00
    if not 0 <= index < 11172:
        return _wide_sign(character, _ODD)
    finals = _FINAL + _FINAL_REST
    shares = (_INITIAL[index // 588], _VOWEL[index % 588 // 28], finals[index % 28])
    return sum(math.log(share / 100) for share in shares)


def _chinese(standard: str, first: range, size: int) -> Callable[[str, str], float]:
    """Likelihood by a standard whose characters of the first level have lead bytes in a range."""
    common, rare = math.log(0.95 / size), math.log(0.02 / 5000)

    def likelihood(character: str, before: str) -> float:
        try:
            code = character.encode(standard)
        except UnicodeEncodeError:
            return _wide_sign(character, _ODD)
        if "\u4e00" <= character <= "\u9fff":
            return common if code[0] in first else rare
        return _wide_sign(character, -12.0)

    return likelihood


def _japanese(character: str, before: str) -> float:
    if "\u3041" <= character <= "\u3096":
        return math.log(0.4 / 83)
    if "\u30a1" <= character <= "\u30fc":
        return math.log(0.3 / 86)
    if "\uff61" <= character <= "\uff9f":  # half as wide, of one byte
        return -9.0
    if "\u4e00" <= character <= "\u9fff":
        try:
            first = character.encode("euc_jp")[0] <= 0xCF  # level 1 of JIS X 0208
        except UnicodeEncodeError:
            return _ODD
        return math.log(0.28 / 2965) if first else math.log(0.02 / 3390)
    return _wide_sign(character, _ODD)


def _wide_sign(character: str, otherwise: float) -> float:
    """Punctuation and forms of East Asia, which all its code pages have."""
    return -7.0 if "\u3000" <= character <= "\u3015" or "\uff01" <= character <= "\uff5e" else otherwise


def _latin(name: str) -> Callable[[str, str], float]:
    frequent = _COMMON[name]

    def likelihood(character: str, before: str) -> float:
        letter = unicodedata.category(character).startswith("L")
        rank = frequent.find(character)
        value = -4.2 - 0.04 * rank if rank >= 0 else -9.0 if letter else -11.0
        crowd = letter and bool(before) and not before.isascii() and before.isalpha()
        upper = character.isupper() and before.isalpha()
        return value - 3.0 * crowd - 5.0 * upper

    return likelihood


def _alphabet(letters: str, first: float = -2.1, slope: float = 0.1) -> Callable[[str, str], float]:
    """Likelihood by a script of its own, whose letters follow each other.

    Args:
        letters: The frequent ones first.
        first: The logarithm of the probability of the first.
        slope: By how much it is smaller for each further letter.
    """

    def likelihood(character: str, before: str) -> float:
        rank = letters.find(character.lower())
        if rank < 0:
            return -12.0
        upper = character.isupper() and before.isalpha() and not before.isupper()
        latin = before.isascii() and before.isalpha()
        return first - slope * rank - 1.5 * character.isupper() - 5.0 * upper - _MIXED * latin

    return likelihood


_LIKELIHOODS: dict[str, Callable[[str, str], float]] = {
    "gb18030": _chinese("gb2312", range(0xB0, 0xD8), 3755),
    "cp949": _korean,
    "cp932": _japanese,
    "euc_jp": _japanese,
    "big5": _chinese("big5", range(0xA4, 0xC7), 5401),
    "cp1252": _latin("cp1252"),
    "cp1250": _latin("cp1250"),
    "cp1251": _alphabet(_COMMON["cp1251"], -2.4, 0.06),
    "koi8-r": _alphabet(_COMMON["cp1251"], -2.4, 0.06),
    "cp1253": _alphabet(_COMMON["cp1253"]),
    "cp1254": _latin("cp1254"),
    "cp1255": _alphabet(_COMMON["cp1255"], -2.0, 0.08),
    "cp1256": _alphabet(_COMMON["cp1256"]),
}
_SCRIPTS = ("cp1251", "koi8-r", "cp1253", "cp1255", "cp1256")  # they have letters of their own: no word mixes them
_SELDOM = ("koi8-r", "cp1253", "cp1254", "cp1255", "cp1256")
