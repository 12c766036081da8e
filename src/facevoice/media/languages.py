"""Languages by their two- and three-letter codes, which files and people use as they please."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

# ISO 639: two letters, then three of ISO 639-2/T, then those of ISO 639-2/B where they differ.
_CODES: Final = """
aaaar ababk aeave afafr akaka amamh anarg arara asasm avava ayaym azaze babak bebel bgbul bibis
bmbam bnben bobodtib brbre bsbos cacat ceche chcha cocos crcre cscescze cuchu cvchv cycymwel
dadan dedeuger dvdiv dzdzo eeewe elellgre eneng eoepo esspa etest eueusbaq fafasper ffful fifin
fjfij fofao frfrafre fyfry gagle gdgla glglg gngrn guguj gvglv hahau heheb hihin hohmo hrhrv
hthat huhun hyhyearm hzher iaina idind ieile igibo iiiii ikipk ioido isislice itita iuiku jajpn
jvjav kakatgeo kgkon kikik kjkua kkkaz klkal kmkhm knkan kokor krkau kskas kukur kvkom kwcor
kykir lalat lbltz lglug lilim lnlin lolao ltlit lulub lvlav mgmlg mhmah mimrimao mkmkdmac mlmal
mnmon mrmar msmsamay mtmlt mymyabur nanau nbnob ndnde nenep ngndo nlnlddut nnnno nonor nrnbl
nvnav nynya ococi ojoji omorm orori ososs papan pipli plpol pspus ptpor quque rmroh rnrun
roronrum rurus rwkin sasan scsrd sdsnd sesme sgsag sisin skslkslo slslv smsmo snsna sosom
sqsqialb srsrp ssssw stsot susun svswe swswa tatam tetel tgtgk ththa titir tktuk tltgl tntsn
toton trtur tstso tttat twtwi tytah uguig ukukr ururd uzuzb veven vivie vovol wawln wowol xhxho
yiyid yoyor zazha zhzhochi zuzul
"""
_NO_LANGUAGE: Final = frozenset(["", "und", "mis", "mul", "zxx"])


def language_of(code: str | None) -> str | None:
    """A file's or person's code in one form, in which "en", "eng" and "en-GB" are all "eng".

    None where it names no language ("und"). Codes that are not in ISO 639-2 stay as they are.
    """
    primary = re.split(r"[-_]", (code or "").strip().lower())[0]
    return None if primary in _NO_LANGUAGE else _by_code().get(primary, primary)


@cache
def _by_code() -> dict[str, str]:
    found: dict[str, str] = {}
    for codes in _CODES.split():
        three = codes[2:5]
        found |= dict.fromkeys([codes[:2], three, codes[5:] or three], three)
    return found
