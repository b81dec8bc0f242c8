"""What the built-in model has words for: classes of the detector, groups of the classifier, colors, synonyms."""

from __future__ import annotations


def split(text: str) -> list[str]:
    """The entries of a list in one text, which are set apart by commas, or else by spaces."""
    return text.split("," if "," in text else None)


# The 80 classes of COCO, in the detector's order.
COCO = tuple(
    split(
        "person,bicycle,car,motorcycle,airplane,bus,train,truck,boat,traffic light,fire hydrant,stop sign,"
        "parking meter,bench,bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,backpack,umbrella,handbag,"
        "tie,suitcase,frisbee,skis,snowboard,sports ball,kite,baseball bat,baseball glove,skateboard,surfboard,"
        "tennis racket,bottle,wine glass,cup,fork,knife,spoon,bowl,banana,apple,sandwich,orange,broccoli,carrot,"
        "hot dog,pizza,donut,cake,chair,couch,potted plant,bed,dining table,toilet,tv,laptop,mouse,remote,"
        "keyboard,cell phone,microwave,oven,toaster,sink,refrigerator,book,clock,vase,scissors,teddy bear,"
        "hair drier,toothbrush"
    )
)

# Everyday groups of ImageNet's classes, as "first-last" or single class numbers. A group's summed probability is far
# more reliable than the best single class, above all where the classes are breeds.
_GROUPS = {
    "fish": "0-6 389-397",
    "bird": "7-24 80-100 127-146",
    "salamander": "25-29",
    "frog": "30-32",
    "turtle": "33-37",
    "lizard": "38-48",
    "crocodile": "49-50",
    "dinosaur": "51",
    "snake": "52-68",
    "spider": "70-77",
    "sea creature": "107-126 327-329",
    "elephant": "101 385-386",
    "whale": "147-148",
    "sea lion": "149-150",
    "dog": "151-268",
    "wolf or wild dog": "269-276",
    "fox": "277-280",
    "cat": "281-285",
    "big cat": "286-293",
    "bear": "294-297",
    "insect": "300-320",
    "butterfly": "321-326",
    "rabbit": "330-332",
    "small animal": "102-106 298 299 333-338 356-364",
    "horse": "339",
    "zebra": "340",
    "pig": "341-343",
    "hippopotamus": "344",
    "cattle": "345-347",
    "sheep or goat": "348-353",
    "camel or llama": "354-355",
    "monkey or ape": "365-384",
    "panda": "387-388",
    "guitar": "402 420 546",
    "drum": "541 542 822",
    "piano": "579 881",
    "musical instrument": "401 432 486 494 513 558 566 577 593 594 641 642 683 684 687 699 776 875 889",
    "car": "436 468 475 479 511 581 609 627 656 661 751 785 817",
    "truck or van": "407 555 569 654 675 717 734 757 864 867",
    "bus or tram": "779 829 874",
    "train": "466 547 565 705 820",
    "bicycle": "444 671 870 880",
    "motorcycle": "665 670",
    "boat": "403 472 484 510 554 576 625 628 724 780 814 833 871 914",
    "aircraft": "404 405 895 908",
    "tractor or digger": "595 730 856 866",
    "kitchenware": "469 499 505 521 534 544 550 567 618 647 651 659 766 813 827 828 849 859 891 909 910",
    "cup or plate": "441 504 572 809 923 968",
    "bottle or jug": "440 720 725 737 898 899 901 907",
    "fruit or vegetable": "936-957",
    "food": "924-935 959-969",
    "furniture": "453 493 495 526 532 548 559 564 765 831 857 894",
    "screen or computer": "508 527 590 598 620 664 681 782 851 878",
    "phone": "487 528 707",
    "printed page or web page": "916 917 918 921 922",
    "ball": "429 430 522 574 722 746 768 805 852 890",
    "gym equipment": "416 422 543 602 702 747",
    "suit or tie": "451 457 834 906 982",
    "glasses": "836 837",
    "hat": "433 439 452 515 793 808",
    "helmet": "518 560 715",
    "baby things": "431 443 516 520 529 680",
    "building": "425 449 483 497 525 538 624 663 668 682 698 727 821 832 839 858 873 888",
    "shop": "415 424 454 467 509 582 788 860 865",
    "restaurant": "762",
    "mountain landscape": "970 972 979 980",
    "sea or lake shore": "460 718 536 973 975-978",
    "flower": "984-986",
    "mushroom": "991-997",
    "street sign": "919",
    "traffic light": "920",
}

# Groups within which a single class may be named, as its classes look different enough.
FINE_GROUPS = frozenset(
    split(
        "fruit or vegetable,food,musical instrument,truck or van,bus or tram,small animal,big cat,sea creature,"
        "kitchenware,monkey or ape,ball,cup or plate,furniture,boat"
    )
)
# Everyday words for classes whose ImageNet name is odd.
_RENAMED = {
    948: "green apple",
    936: "cabbage",
    947: "mushroom",
    954: "banana",
    805: "football",
    574: "golf ball",
    468: "taxi",
    407: "ambulance",
    555: "fire engine",
    717: "pickup truck",
    734: "police van",
    867: "truck",
    829: "tram",
    779: "school bus",
    934: "hot dog",
    968: "cup",
    335: "squirrel",
    113: "snail",
    107: "jellyfish",
    931: "bagel",
    504: "mug",
    851: "television",
}
# Classes that stand for nothing when they are named for a whole picture: textures and leftovers.
MEANINGLESS = frozenset(
    split(
        "switch,modem,envelope,binder,hook,nail,letter opener,web site,spotlight,bubble,pick,bolo tie,swab,"
        "safety pin,screwdriver,stretcher,scale,packet,accordion,monitor,scoreboard,hard disc,jinrikisha,"
        "guillotine,tub,spatula,cleaver,rule,analog clock,digital clock,jellyfish,solar dish,window screen,"
        "window shade,theater curtain,shower curtain,Band Aid,matchstick,lighter,nematode,isopod,velvet,wool,"
        "handkerchief,prison,mosquito net,chainlink fence,honeycomb,maze,doormat,prayer rug,oxygen mask,loupe,"
        "lens cap,Petri dish,hand-held computer,ballpoint,face powder,paper towel,toilet tissue,crossword puzzle,"
        "jigsaw puzzle,strainer,ocarina,hair slide,knot,chain,screw,thimble,rubber eraser,punching bag,plunger,"
        "broom,ladle,hourglass,spindle,pole,slide rule"
    )
)
SCENERY = frozenset(
    split(
        "shop,restaurant,building,mountain landscape,sea or lake shore,furniture,suit or tie,"
        "printed page or web page,screen or computer,street sign,traffic light,baby things,glasses,gym equipment,"
        "helmet,hat"
    )
)
MOVABLE = (frozenset(_GROUPS) | {"animal"}) - SCENERY
FIRST_NON_ANIMAL = 398  # ImageNet's classes below this are animals


def _numbers(ranges: str) -> list[int]:
    pairs = [part.partition("-") for part in ranges.split()]
    return [number for first, _, last in pairs for number in range(int(first), int(last or first) + 1)]


GROUP_OF = {number: name for name, ranges in _GROUPS.items() for number in _numbers(ranges)}
CLASSES_OF = {name: tuple(_numbers(ranges)) for name, ranges in _GROUPS.items()}


def class_name(number: int, labels: tuple[str, ...]) -> str:
    """The everyday word for an ImageNet class."""
    return _RENAMED.get(number, labels[number].lower() if labels[number] != "iPod" else "music player")


# ImageNet classes that bear out, and name more finely, a class of the detector.
BORNE_OUT_BY = {
    "apple": (948,),
    "orange": (950, 951),
    "banana": (954,),
    "broccoli": (937, 938),
    "sports ball": CLASSES_OF["ball"],
    "car": (*CLASSES_OF["car"], *CLASSES_OF["truck or van"]),
    "truck": CLASSES_OF["truck or van"],
    "bus": CLASSES_OF["bus or tram"],
    "boat": CLASSES_OF["boat"],
    "cup": CLASSES_OF["cup or plate"],
    "bowl": (*CLASSES_OF["cup or plate"], 659, 809),
    "bird": CLASSES_OF["bird"],
    "dog": CLASSES_OF["dog"],
    "cat": CLASSES_OF["cat"],
    "big cat": CLASSES_OF["big cat"],
}
# The detector's animals that the classifier knows as well, by the classifier's group.
DETECTED_ANIMALS = {
    "bird": "bird",
    "cat": "cat",
    "dog": "dog",
    "horse": "horse",
    "sheep": "sheep or goat",
    "cow": "cattle",
    "elephant": "elephant",
    "bear": "bear",
    "zebra": "zebra",
}
# Detector classes that are mistaken for one another: one thing when matched between pictures.
ALIKE = (
    frozenset(("car", "truck", "bus", "train")),
    frozenset(("bicycle", "motorcycle")),
    frozenset(("cup", "bowl", "vase", "wine glass")),
    frozenset(("dog", "cat", "bear", "sheep", "cow", "horse")),
    frozenset(("couch", "bed", "chair")),
    frozenset(("apple", "orange", "sports ball")),
    frozenset(("handbag", "backpack", "suitcase")),
)

# Words of questions that stand for a label of the model.
SYNONYMS = {
    word: label
    for label, words in {
        "person": "man men woman women child children kid kids boy boys girl girls guy guys lady ladies worker workers "
        "cyclist rider riders driver pedestrian pedestrians player players customer customers someone anybody anyone "
        "somebody people persons human humans speaker baby adult student students teacher passenger shopper he she "
        "him her his everybody",
        "bicycle": "bike bikes bicycles cycle",
        "motorcycle": "motorbike motorbikes motorcycles scooter moped",
        "car": "cars automobile taxi taxis cab",
        "airplane": "plane planes airplanes aeroplane jet",
        "couch": "sofa sofas couches",
        "tv": "television televisions telly monitor screens",
        "cell phone": "phone phones smartphone mobile cellphone",
        "dining table": "table tables desk desks",
        "potted plant": "plant plants",
        "refrigerator": "fridge",
        "sports ball": "ball balls",
        "handbag": "bag bags purse",
        "wine glass": "glass glasses",
        "cup": "mug mugs cups",
        "truck": "lorry trucks lorries van vans",
        "boat": "boats ship ships",
        "rabbit": "bunny hare rabbits bunnies",
        "cow": "cows cattle bull",
    }.items()
    for word in words.split()
}
# Words of questions that stand for many labels.
HYPERNYMS = {
    "animal": frozenset(
        split(
            "bird,cat,dog,horse,sheep,cow,elephant,bear,zebra,giraffe,animal,fish,frog,turtle,lizard,crocodile,snake,"
            "spider,sea creature,whale,sea lion,wolf or wild dog,fox,big cat,insect,butterfly,rabbit,small animal,pig,"
            "hippopotamus,cattle,sheep or goat,camel or llama,monkey or ape,panda,salamander"
        )
    ),
    "vehicle": frozenset(
        split(
            "bicycle,car,motorcycle,airplane,bus,train,truck,boat,truck or van,bus or tram,aircraft,tractor or digger"
        )
    ),
    "fruit": frozenset(
        split("apple,green apple,orange,banana,lemon,strawberry,fig,pineapple,jackfruit,custard apple,pomegranate")
    ),
    "vegetable": frozenset(
        split(
            "broccoli,carrot,cabbage,cauliflower,zucchini,cucumber,artichoke,bell pepper,mushroom,spaghetti squash,"
            "acorn squash,butternut squash,cardoon"
        )
    ),
    "food": frozenset(
        split(
            "banana,apple,green apple,sandwich,orange,broccoli,carrot,hot dog,pizza,donut,cake,food,"
            "fruit or vegetable,lemon,cabbage,cauliflower,cucumber,strawberry,pineapple,bagel,pretzel,bell pepper"
        )
    ),
    "furniture": frozenset(["chair", "couch", "bed", "dining table", "bench", "furniture"]),
    "instrument": frozenset(["guitar", "drum", "piano", "musical instrument"]),
    "device": frozenset(split("tv,laptop,cell phone,remote,keyboard,mouse,screen or computer,phone")),
    "luggage": frozenset(["backpack", "handbag", "suitcase"]),
}
HYPERNYMS["pet"] = frozenset(("cat", "dog", "bird", "rabbit"))
HYPERNYMS["produce"] = HYPERNYMS["fruit"] | HYPERNYMS["vegetable"]
HYPERNYMS["animals"] = HYPERNYMS["animal"]

IRREGULAR_PLURALS = {
    "person": "people",
    "bus": "buses",
    "knife": "knives",
    "couch": "couches",
    "bench": "benches",
    "sheep": "sheep",
    "skis": "skis",
    "glasses": "glasses",
    "fish": "fish",
    "broccoli": "broccoli",
    "scissors": "scissors",
    "toothbrush": "toothbrushes",
    "sandwich": "sandwiches",
    "wine glass": "wine glasses",
    "cattle": "cattle",
    "baby things": "baby things",
}


def plural(label: str) -> str:
    """The word for several of a thing."""
    return IRREGULAR_PLURALS.get(label, label + "s")


def counted(count: int, label: str) -> str:
    """A number of things in words: "a car", "2 cars"."""
    if count != 1:
        return f"{count} {plural(label)}"
    if IRREGULAR_PLURALS.get(label) == label:
        return label
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def listed(words: list[str]) -> str:
    """Words in a row: "a, b and c"."""
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
