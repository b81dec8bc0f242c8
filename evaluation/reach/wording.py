"""The words of which moments are made: each as a caption has it, and otherwise, as someone asks who only remembers."""

from __future__ import annotations


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    """Lines of the form `as captioned | as asked`."""
    pairs = []
    for line in text.strip().splitlines():
        captioned, _, asked = line.partition("|")
        pairs.append((captioned.strip(), asked.strip()))
    return tuple(pairs)


SUBJECTS = _pairs("""
    a woman in a red coat | the lady dressed in red
    a boy with a straw hat | the kid who wore a straw hat
    an old man with a cane | the elderly man who walked with a stick
    a nun with a rosary | the nun with the prayer beads
    a mechanic in blue overalls | the man in blue work clothes
    a girl on roller skates | the girl who was skating
    a bearded fisherman | the fisherman with the beard
    a nurse in white | the nurse
    a man in a gray suit | the businessman in gray
    a soldier with a backpack | the soldier with the pack
    a street musician | the musician from the street
    a cook with a tall hat | the chef
    a mother with a stroller | the mother who pushed a stroller
    a cyclist with a yellow helmet | the cyclist in the yellow helmet
    a policewoman | the female police officer
    a clown with a green wig | the clown in the green wig
    a postman | the mail carrier
    a painter with a ponytail | the painter whose hair was tied back
    a tall waiter | the tall waiter
    a farmer with muddy boots | the farmer in dirty boots
    a bride in a white dress | the bride
    a young couple | the young pair
    a janitor | the man who cleans
    a teacher with round glasses | the teacher who wore round glasses
""")
ACTIONS = _pairs("""
    feeds the pigeons | give food to the birds
    repairs a bicycle | fix a bike
    reads a newspaper | read the paper
    sells balloons | sell balloons
    plays chess | play a board game
    peels an orange | peel a fruit
    takes photographs | take pictures
    unloads wooden crates | take boxes off a truck
    waters the flowers | give water to the plants
    sweeps up leaves | clean away the leaves
    eats an ice cream | eat something cold and sweet
    argues on the phone | quarrel with someone on the phone
    ties a shoelace | tie a shoe
    carries a ladder | carry something to climb on
    drops a bag of groceries | let the shopping fall
    paints a fence green | paint a fence
    waves a small flag | wave a flag
    juggles three balls | juggle
    walks a black dog | walk a dog
    folds an umbrella | close an umbrella
    writes a letter | write a letter
    lights a candle | light a candle
    opens a blue suitcase | open a suitcase
    hangs up posters | put up posters
""")
PLACES = _pairs("""
    beside the fountain | near the fountain
    under the stone bridge | below the bridge
    at the bus stop | where the buses stop
    in front of the bakery | outside the bread shop
    on the church steps | on the stairs of the church
    in the rose garden | among the roses
    behind the gas station | at the back of the gas station
    on the ferry deck | aboard the ferry
    at the market stall | at a stand of the market
    in the library hall | inside the library
    next to the tram tracks | by the tracks of the tram
    on a wooden pier | on the pier
    in the empty playground | at the playground
    below the clock tower | at the foot of the clock tower
    near the museum entrance | at the door of the museum
    on a rooftop terrace | up on the roof
    in the train compartment | on the train
    at the edge of the forest | at the edge of the woods
    by the frozen pond | at the icy pond
    in the hotel lobby | in the lobby of the hotel
""")
