"""Words of questions: by which a question's kind, its time and its subject are known."""

from __future__ import annotations

from enum import Enum, auto

from streamchat.models.embedded.colors import NAMES as COLOR_NAMES
from streamchat.models.embedded.vocabulary import split


class Kind(Enum):
    """What kind of answer is wanted."""

    ABILITIES = auto()
    SMALL_TALK = auto()
    SHOTS = auto()  # how many
    VIEW = auto()  # did it change
    COUNT = auto()
    COLOR = auto()
    TEXT = auto()
    TOWARDS = auto()  # or away
    LIGHT = auto()  # time of day, brightness
    CHOICE = auto()
    WHERE_TO = auto()
    PLACE = auto()  # what kind of place it is
    WHERE = auto()
    WHEN = auto()
    WORN = auto()  # what somebody wears
    CHANGE = auto()  # what came, went or changed
    SUMMARY = auto()
    UNSEEN = auto()  # actions, reasons, names: never observed
    EXISTS = auto()
    WHICH = auto()  # which thing of a kind
    WHAT = auto()  # what is to be seen


class Time(Enum):
    """Which part of the stream a question speaks of."""

    ANY = auto()
    MOMENT = auto()  # a time that is named
    FIRST = auto()
    LAST = auto()
    BEFORE = auto()
    AFTER = auto()
    NOW = auto()


# What people say before they ask, and where: it only hides what is asked.
PREAMBLES = (
    r"^(so|well|ok|okay|hi|hello|hey|please|and so)\b[ ,]+(?=\w+ \w+)",
    r"^based on (what|the)\b[^,]*, *",
    r"^i('m| am) not (quite |so )?sure, *",
    r"^i can't quite remember, *",
    r"^(can|could|would|will) you (please )?(help me )?(tell me|say|find|think about) (?=(what|which|where|how|who)\b)",
    r"^do you (know|remember|see) (?=(what|which|where|how|who|when)\b)",
    r"\b(do you think|in (the|this) (video|film|clip|stream|scene|picture|image))\b",
)
# The first kind of which a pattern is found is the question's; the order is the precedence.
SOMETHING = r"\b(what|who|anything|something|some(one|body)|any(one|body))\b"
KINDS: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (Kind.ABILITIES, (r"^(who|what) are you\b", r"\bwhat can you\b", r"^help\W*$", r"\bhow do(es)? (you|this) work")),
    (
        Kind.SMALL_TALK,
        (
            r"^(hi|hello|hey|thanks|thank you|bye|goodbye|ok|okay|great|cool|nice|well done)\b[\w ,]{0,20}\W*$",
            r"^(good (morning|evening|day|night)|how are you)\b",
        ),
    ),
    (
        Kind.SHOTS,
        (
            r"\bhow (many|often)\b.*\b(shots?|scenes?|cuts?|views?)\b",
            r"\bhow (many times|often)\b.*\b(view|scene|picture|camera)\b",
        ),
    ),
    (
        Kind.VIEW,
        (r"\b(did|has|does|is)\b.*\b(view|scene|shot|camera|setting)\b.*\b(chang|cut|switch|differ|new\b)",),
    ),
    (Kind.COUNT, (r"\bhow many\b", r"\bnumber of\b", r"\bcount the\b")),
    (Kind.COLOR, (r"\bcolou?r(s|ed)?\b",)),
    (
        Kind.TEXT,
        (
            r"\b(written|writing|texts?|words?|letters?|title|captions?|subtitles?|slogan|inscription|logo|watermark)\b",
            r"\b(headline|printed|url|website|price tag|(license|licence|number) plate)\b",
            r"\bwhat (does|do|did) .*\b(sign|board|poster|banner|screen|shirt|label|box|display|page)s?\b.* (say|read)",
            r"\b(name|number|price|date|score|message|label) (is |was |stands |shown )?on\b",
        ),
    ),
    (
        Kind.TOWARDS,
        (
            r"\b(towards?|nearer|closer|away)\b.*\bor\b.*",
            r"\b(com(e|es|ing)|came|get|gets|getting|walk\w*|mov\w*|driv\w*) (closer|nearer|towards|away)\b",
        ),
    ),
    (
        Kind.LIGHT,
        (
            r"\btime of (the )?day\b",
            r"\b(day|daytime|night|bright|dark)\b.*\bor\b",
            r"\b(is|was) it (dark|bright|night|day|daytime|evening|light|sunny)\b",
            r"\bhow (dark|bright)\b",
        ),
    ),
    (Kind.CHOICE, (r"^\W*(and |so )?(is|are|was|were|does|do|did|has|have|which|what)\b.*\bor\b",)),
    (
        Kind.WHERE_TO,
        (
            r"\bwhere (did|does|do|has|have|is|are)\b.*\b(go|goes|gone|going|move[ds]?|moving|heading|headed)\b",
            r"\b(which|what) (direction|way)\b",
        ),
    ),
    (
        Kind.PLACE,
        (
            r"\b(what|which) ((kind|type|sort) of )?(place|location|room|setting|environment|building)\b",
            r"^\W*where ((is|are|was|were) (this|we|it (filmed|set|taking place))\W*$|am i\b|i am\b)",
            r"^\W*where does (this|it) (take|happen)",
            r"^\W*(is|are|was|were) .*\b(indoors|outdoors|inside|outside)\W*$",
        ),
    ),
    (Kind.WHERE, (r"\bwhere\b", r"\b(on|at) (which|what) side\b")),
    (Kind.WHEN, (r"^\W*(and )?when\b", r"\bat (what|which) (time|moment|second)\b")),
    (Kind.WORN, (r"\b(wear|wears|wearing|worn|dressed)( (on|in|at|around|during)\b.*)?\W*$",)),
    (
        Kind.CHANGE,
        (
            SOMETHING + r".*\b(left(?! (hand|side|arm|of))|leav\w+)\b",
            SOMETHING + r".*\b(disappear\w*|gone)\b",
            SOMETHING + r".*\b(taken away|removed|missing|arriv\w*|appear\w*)\b",
            SOMETHING + r".*\b(came|comes? in|enter(s|ed)?|joined|new|chang\w*)\b",
        ),
    ),
    (
        Kind.SUMMARY,
        (
            r"\b(summar\w*|describe|description|overview|recap|so far|happen(s|ed|ing)?)\b",
            r"\bwhat is (this|the) (video|film|clip|stream) about\b",
            r"\bwhat (have|did) (you|i) (seen?|miss(ed)?)\b",
        ),
    ),
    (Kind.WHAT, (r"\bwhat (did|does|do|can|could) .* (show|see)\b",)),
    (Kind.WHICH, (r"^\W*(and )?(what|which) \w+ (did|do|can|could|have) you (see|notice|seen|noticed)\b",)),
    (
        Kind.UNSEEN,
        (
            r"^\W*(and )?(why|who|whose|how)\b",
            r"\b(what|which)\b.*\b(doing|do|did|does|done|actions?|gestures?|moods?|emotions?|feel\w*|purpose|reason)\b",
            r"\b(what|which)\b.*\b(think\w*|says?|said|saying|talk\w*|brand|movie|author|song|language|breed|mean\w*)\b",
            r"\b(what|which)\b.*\b(holding|hold|holds|carrying|using|uses|eating|drinking|playing|looking at|name)\b",
            r"\b(used for|recommend|should|made of|materials?|vitamins?|invented|in the world)\b",
            r"\b(planet|continent|ocean|country|city|region|movie|artist|model|make)\b",
        ),
    ),
    (Kind.EXISTS, (r"^\W*(and |so |but )?(is|are|was|were|does|do|did|has|have|can you|could you|any)\b",)),
    (
        Kind.WHICH,
        (
            r"^\W*(and )?which\b",
            r"\bwhat (kind|type|sort) of\b",
            r"^\W*(and )?what (?!is|are|was|were|'s|did|do|does|stands?|lies|hangs|comes|can)\w+",
        ),
    ),
    (Kind.WHAT, (r"",)),
)

TIMES: tuple[tuple[Time, str], ...] = (
    (Time.MOMENT, r"\b\d+:\d\d\b|\bat \d+ ?(s|secs?|seconds?)\b"),
    (Time.FIRST, r"\b(first|start|beginning|initially|originally|opening)\b"),
    (Time.BEFORE, r"\b(before|previously|earlier|prior to)\b"),
    (Time.AFTER, r"\b(after|following|afterwards)\b"),
    (Time.NOW, r"\b(now|currently|at the moment|at present|this moment|still|remain\w*|(is|are) left)\b"),
    (Time.LAST, r"\b(last|final|finally|latest|just|recent|recently|end|newest)\b"),
)

# Words for parts of a person and of the picture.
PARTS = {
    word: part
    for part, words in {
        "head": "hat cap helmet hair hood beanie headscarf crown wig headband turban hardhat head",
        "top": "shirt tshirt t-shirt jacket coat vest sweater hoodie top blouse dress jersey suit uniform cardigan "
        "clothes clothing outfit pullover waistcoat robe sweatshirt",
        "bottom": "trousers pants jeans skirt shorts leggings slacks",
        "ground": "floor ground carpet road street pavement grass lawn rug tarmac asphalt snow sand flooring",
        "above": "sky ceiling",
        "letters": "letters letter text words word writing title caption subtitle subtitles lettering font inscription",
        "picture": "picture screen background image video scene frame",
    }.items()
    for word in words.split()
}
CLOTHES = frozenset(("head", "top", "bottom"))

COLORS = {name: name for name in COLOR_NAMES} | {"gray": "grey", "violet": "purple", "golden": "yellow"}
COLORS |= {"teal": "turquoise", "cyan": "turquoise", "cream": "beige", "tan": "beige", "silver": "grey"}

# Words without a subject in them.
FILLERS = frozenset(
    split(
        "a an the is are was were be been being do does did has have had there this that these those it its of in "
        "on at to for with and or any what which who whom whose when where why how many much me you i tell please "
        "can could would will shall should about from by as so far against just now then again also into onto "
        "over under up down out off if not clip video film movie stream show shown shows showing see seen saw "
        "seeing visible look looks looking looked appear appears appeared something anything thing things kind "
        "kinds type sort time times moment moments during first last before after earlier later previously "
        "currently present colour color colours colors number no yes he she him her his they them their we us my "
        "your our some all ever still beginning start end finally one ones other here get got gets come comes "
        "came coming left right middle go goes went gone going enter entered join joined leave leaves leaving "
        "pass passes passed passing near front behind beside between next away towards toward camera most more "
        "least than ago second seconds minute minutes recently new notice noticed spot spotted find found make "
        "side centre center another located very whole part round describe summarize summarise summary happened "
        "happens happening picture screen scene image view background following shot shots exactly only both too "
        "really stands stand standing sit sits sitting wear wears wearing worn dressed person's man's woman's "
        "might may must put place placed placing need needs want wants think help remember know quite sure such "
        "pair pairs small big large little"
    )
)
ARTICLES = frozenset(split("the a an his her their its this that these those my your any some all and"))
# Words that end a phrase such as "the red cars" in "the red cars that pass".
PHRASE_ENDS = frozenset(
    split(
        "is are was were do does did has have had can could will would of on in at to behind who that which near "
        "with next by wearing wears worn from under over beside between or there you now so before after sit sits "
        "sitting sat stand stands standing stood walk walks walking come comes came coming go goes went pass "
        "passes passed appear appears appeared left leave enter entered be been being just shown seen visible "
        "fills fill look looks lies lying hang hangs parked driving remain remains across inside outside around "
        "against while when during it they"
    )
)
