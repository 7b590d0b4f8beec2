"""The words that Amazon's address rules abbreviate, by country.

A row `short: long longer` replaces the words `long` and `longer` by `short`. Source: Amazon's public address
normaliser (2022). Tables with `TEMPLATE` in their name are from Amazon's tag template (2026).
"""

from collections.abc import Mapping
from typing import Final


def _read(rows: str) -> Mapping[str, str]:
    """Parse `short: long longer; …` into a mapping from each long word to its short word."""
    words: dict[str, str] = {}
    for row in rows.split(";"):
        short, _, longs = row.partition(": ")
        words.update(dict.fromkeys(longs.split(), short.strip()))
    return words


NUMBER_WORDS: Final = _read("number: num número núm numero no")

# Amazon's normaliser does not abbreviate `west`. The tag template has no `so`.
DIRECTIONS: Final = _read(
    "e: east; n: north; ne: northeast; nw: northwest; s: south so; se: southeast; sw: southwest"
)
TEMPLATE_DIRECTIONS: Final = _read(
    "e: east; n: north; s: south; w: west; ne: northeast; nw: northwest; se: southeast; sw: southwest"
)

# Words of streets in all countries.
EVERYWHERE: Final = _read(
    r"""
    ave: avenue; blvd: bouled; cir: circle; cirs: circles; ct: court; ctr: centre center; dr: drive;
    fwy: freeway frwy; hwy: highway; ln: lane; park: parks;
    pkwy: parkways pky pkway pkwys parkway parkwy; pl: place; plz: plaza plza; rd: road;
    sq: square squ sqr; st: street str
    """
)

_UNITED_STATES: Final = _read(
    r"""
    aly: alley allee ally; anx: annex annx anex; apt: apartment appt; arc: arcade;
    ave: av avenu avenue aven avnue avn; bch: beach; bg: burg; bgs: burgs; bldg: building;
    blf: bluff bluf; blfs: bluffs; blvd: boulv bouled boul; bnd: bend; br: branch brnch;
    brg: brdge bridge; brk: brook; brks: brooks; bsmt: basement; btm: bot bottm bottom;
    byp: bypass bypas byps bypa; byu: bayou bayoo; cir: crcl crcle circle circl circ; cirs: circles;
    clb: club; clf: cliff; clfs: cliffs; cmn: common; cmns: commons; cor: corner; cors: corners;
    cp: cmp camp; cpe: cape; cres: crescent crsnt crsent; crk: creek; crse: course; crst: crest;
    cswy: causeway causwa; ct: court; ctr: centr cen cntr centre cnter cent center; ctrs: centers;
    cts: courts; curv: curve; cv: cove; cvs: coves; cyn: cnyn canyn canyon; dept: department; dl: dale;
    dm: dam; dr: driv drive drv; drs: drives; dv: dvd divide div; est: estate; ests: estates;
    expy: expressway expw expr exp express; ext: extension extn extnsn; exts: extensions; fl: floor;
    fld: field; flds: fields; fls: falls; flt: flat; flts: flats; frd: ford; frds: fords;
    frg: forge forg; frgs: forges; frk: fork; frks: forks; frnt: front; frst: forests forest;
    fry: frry ferry; ft: fort frt; fwy: freewy frway freeway frwy; gdn: grden garden grdn gardn;
    gdns: gardens grdns; gln: glen; glns: glens; grn: green; grns: greens; grv: grov grove; grvs: groves;
    gtwy: gatway gateway gatewy gtway; hbr: hrbor harbor harb harbr; hbrs: harbors; hl: hill; hls: hills;
    hngr: hanger; holw: hllw holws hollow hollows; hts: heights ht; hvn: haven;
    hwy: highwy highway hiwy hway hiway; inlt: inlet; is: island islnd; isle: isles; iss: islands islnds;
    jct: juncton jctn jction junctn junction; jcts: jctns junctions; knl: knoll knol; knls: knolls;
    ky: key; kys: keys; lbby: lobby; lck: lock; lcks: locks; ldg: lodge lodg ldge; lf: loaf; lgt: light;
    lgts: lights; lk: lake; lks: lakes; ln: lane; lndg: landing lndng; loop: loops; lowr: lower;
    mdw: meadow; mdws: meadows medows; ml: mill; mls: mills; mnr: manor; mnrs: manors;
    msn: mission mssn missn; mt: mnt mount; mtn: mntn mountain mountin mntain mtin; mtns: mountains;
    mtwy: motorway; nck: neck; ofc: office; opas: overpass; orch: orchard orchrd; oval: ovl;
    park: prk parks; path: paths; ph: penthouse; pike: pikes;
    pkwy: parkways pky pkway pkwys parkway parkwy; pl: place; pln: plain; plns: plains; plz: plaza plza;
    pne: pine; pnes: pines; pr: prr prairie; prt: port; prts: ports; psge: passage; pt: point;
    pts: points; radl: rad radiel radial; rd: road; rdg: ridge rdge; rdgs: ridges; rds: roads;
    riv: river rvr rivr; rm: room; rnch: ranch rnchs ranches; rpd: rapid; rpds: rapids; rst: rest;
    rte: route; shl: shoal; shls: shoals; shr: shoar shore; shrs: shores; skwy: skyway;
    smt: sumit summit sumitt; spc: space; spg: sprng spring spng; spgs: spngs sprngs springs;
    spur: spurs; sq: sqre square squ sqr; sqs: squares sqrs; st: street str strt; sta: station stn statn;
    ste: suite; stra: straven strav strvn stravenue stravn strvnue; strm: streme stream; sts: streets;
    ter: terr terrace; tpke: turnpike trnpk turnpk; trak: trk trks tracks track; trce: traces trace;
    trfy: trafficway; trl: trails trls trail; trlr: trlrs trailer; trwy: throughway;
    tunl: tunel tunnel tunnl tunls tunnels; un: union; uns: unions; upas: underpass; uppr: upper;
    via: viadct viaduct vdct; vis: vista vsta vist vst; vl: ville;
    vlg: vill village villag villiage villg; vlgs: villages; vly: vlly valley vally; vlys: valleys;
    vw: view; vws: views; walk: walks; way: wy; wl: well; wls: wells; xing: crossing crssng;
    xrd: crossroad; xrds: crossroads
    """
)

_UNITED_KINGDOM: Final = _read(
    r"""
    alley: aly; apt: apartment; ave: avenue; blvd: bouled; centre: center ctr; cir: circle; close: cl;
    ct: court; dr: drive; inc: inc.; llc: llc.; llp: llp.; ln: lane; ltd: ltd. limited; pl: place;
    rd: road; square: sq; st: street
    """
)

_FRANCE: Final = _read(
    r"""
    allée: allee; allées: allees; avenue: ave; bouled: blvd; chemin: che; impasse: imp; montée: montee;
    route: rte
    """
)

_ITALY: Final = _read(
    r"""
    corso: c.so cso; largo: l.go lgo; piazza: p.zza p.za pzza pza; piazzale: p.le ple;
    piazzetta: p.tta ptta; via: v.; viale: v.le vle; vicolo: v.lo vlo
    """
)

_SPAIN: Final = _read(
    r"""
    acceso: acces.; alameda: alam.; autopista: auto.; autovía: autov.; avenida: av. avd. avd avda.;
    bule: bulev.; calle: c/ c. cl. c c\ carre carrer; calleja: cllja.; callejuela: cjla.;
    callejón: callej. cjon. cllon.; callizo: cllzo.; calzada: czada.; camino: cmno. cno.; carrera: cra.;
    carretera: ctra.; carreterín: ctrin.; carril: crril.; cinturón: cint.; circunvalación: ccvcn.;
    lugar: lg; muelle: muell.; pasadizo: pzo.; pasaje: psaje.; passeig: pg paseo ps p;
    plaza: pl plza pza; rambla: rbla; ronda: rda; urbanización: urb
    """
)

# The tag template also lists abbreviations without a full stop.
_TEMPLATE_ITALY: Final = _read("via: v")
_TEMPLATE_SPAIN: Final = _read(
    """
    acceso: acces; alameda: alam; autopista: auto; autovía: autov; avenida: av avda; bule: bulev;
    calleja: cllja; callejuela: cjla; callejón: callej cjon cllon; callizo: cllzo; calzada: czada;
    camino: cmno cno; carrera: cra; carretera: ctra; carril: crril; cinturón: cint;
    circunvalación: ccvcn; muelle: muell; pasadizo: pzo; pasaje: psaje
    """
)

# Words by the event's country. Amazon lists no further words for Canada, Germany, Japan and India.
COUNTRY_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "US": _UNITED_STATES,
    "GB": _UNITED_KINGDOM,
    "FR": _FRANCE,
    "IT": _ITALY,
    "ES": _SPAIN,
}

# The template never applies its British list, because it has the key `uk` instead of the country code `gb`.
TEMPLATE_COUNTRY_WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "US": _UNITED_STATES,
    "FR": _FRANCE,
    "IT": {**_ITALY, **_TEMPLATE_ITALY},
    "ES": {**_SPAIN, **_TEMPLATE_SPAIN},
}
