"""The words of the scenes: what can be drawn, its name, and the class of a patch that shows it.

Used by scenes.py (drawing), questions.py (asking) and network.py (what word a patch points at).
"""
import os

# name in the sprite library -> name in the scenes, where they differ
RENAMED = {
    "monkey face": "monkey", "dog face": "dog", "cat face": "cat", "tiger face": "tiger",
    "horse face": "horse", "cow face": "cow", "pig face": "pig", "mouse face": "mouse",
    "rabbit face": "rabbit", "dragon face": "dragon", "honeybee": "bee", "lady beetle": "ladybug",
    "four leaf clover": "clover", "tangerine": "orange", "red apple": "apple",
    "kiwi fruit": "kiwi", "ear of corn": "corn", "hot pepper": "pepper",
    "cheese wedge": "cheese", "french fries": "fries", "birthday cake": "cake",
    "beer mug": "beer", "locomotive": "train", "fire engine": "fire truck",
    "hourglass done": "hourglass", "wrapped gift": "gift", "soccer ball": "football",
    "mobile phone": "phone", "open book": "book", "hiking boot": "boot",
    "evergreen tree": "pine tree", "tennis": "tennis ball",
}
# The order is part of the checkpoint (the dense head's classes): append, never reorder.
SPRITE_NAMES = """
monkey face|gorilla|dog face|wolf|fox|cat face|lion|tiger face|horse face|unicorn|zebra|deer
cow face|pig face|goat|camel|giraffe|elephant|rhinoceros|mouse face|hamster|rabbit face|hedgehog
bat|bear|koala|panda|sloth|kangaroo|chicken|penguin|eagle|duck|swan|owl|flamingo|peacock|parrot
frog|crocodile|turtle|snake|dragon face|whale|dolphin|fish|tropical fish|blowfish|shark|octopus
crab|lobster|shrimp|squid|snail|butterfly|ant|honeybee|lady beetle|spider|scorpion|rose|hibiscus
sunflower|tulip|cactus|palm tree|evergreen tree|maple leaf|mushroom|four leaf clover|grapes
watermelon|tangerine|lemon|banana|pineapple|mango|red apple|pear|peach|cherries|strawberry
blueberries|kiwi fruit|tomato|coconut|avocado|eggplant|carrot|ear of corn|hot pepper|broccoli
garlic|onion|bread|croissant|pretzel|pancakes|waffle|cheese wedge|hamburger|french fries|pizza
hot dog|taco|egg|popcorn|sushi|doughnut|cookie|birthday cake|cupcake|pie|lollipop|teapot
wine glass|beer mug|volcano|house|castle|tent|ferris wheel|locomotive|bus|ambulance|fire engine
police car|taxi|tractor|motorcycle|bicycle|skateboard|stop sign|anchor|sailboat|airplane
helicopter|rocket|hourglass done|watch|alarm clock|rainbow|umbrella|snowman|fire|balloon
wrapped gift|trophy|soccer ball|basketball|baseball|tennis|kite|teddy bear|crown|top hat|ring
bell|guitar|trumpet|violin|drum|mobile phone|laptop|television|camera|light bulb|candle|open book
key|hammer|scissors|pencil|magnet|microscope|telescope|chair|bed|door|toothbrush|broom|backpack
sunglasses|t-shirt|dress|hiking boot
""".strip().replace("\n", "|").split("|")
NOUNS = [RENAMED.get(name, name) for name in SPRITE_NAMES]

PLURALS = {
    "mouse": "mice", "fish": "fish", "tropical fish": "tropical fish", "wolf": "wolves",
    "deer": "deer", "fox": "foxes", "octopus": "octopuses", "cactus": "cactuses",
    "butterfly": "butterflies", "strawberry": "strawberries", "peach": "peaches",
    "bus": "buses", "wine glass": "wine glasses", "watch": "watches", "dress": "dresses",
    "toothbrush": "toothbrushes", "tomato": "tomatoes", "mango": "mangoes",
    "maple leaf": "maple leaves",
}
# drawn at most once and named without an article; the plural is the name itself
UNCOUNTABLE = {
    "grapes", "cherries", "blueberries", "fries", "pancakes", "scissors", "sunglasses", "popcorn",
    "corn", "sushi", "broccoli", "bread", "garlic", "cheese", "fire",
}
COLOURS = {
    "red": (214, 40, 40), "green": (46, 160, 67), "blue": (40, 90, 214), "yellow": (247, 208, 48),
    "orange": (245, 130, 32), "purple": (128, 60, 180), "pink": (250, 130, 180),
    "black": (20, 20, 20), "white": (250, 250, 250), "brown": (120, 72, 30),
    "gray": (128, 128, 128),
}
COLOUR_NAMES = list(COLOURS)
SHAPES = ["circle", "square", "triangle", "diamond", "cross"]
WORDS = """OPEN EXIT STOP SALE FREE CAFE BANK PARK TAXI MENU HOTEL PIZZA TEA SHOP BAR GYM ZOO BUS
PORT NORTH SOUTH EAST WEST PUSH PULL SLOW FAST NEW HELP INFO""".split()
NUMBER_WORDS = ["no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]

# class of a patch: 0 ground, nouns, shape x colour, digits, letters, plate of a sign by colour
CLASS_NOUN = 1
CLASS_SHAPE = CLASS_NOUN + len(NOUNS)
CLASS_DIGIT = CLASS_SHAPE + len(SHAPES) * len(COLOURS)
CLASS_LETTER = CLASS_DIGIT + 10
CLASS_PLATE = CLASS_LETTER + 26
CLASSES = CLASS_PLATE + len(COLOURS)
# note of the patch that holds the middle of something: 0 none; of a thing, which of its kind it is
# in reading order (1 to 9, so the last one says how many there are); of a letter, its word
NOTE_WORD = 10
NOTES = NOTE_WORD + len(WORDS)

FONT_FILES = [
    "dejavu/DejaVuSans-Bold.ttf", "dejavu/DejaVuSans.ttf", "dejavu/DejaVuSerif-Bold.ttf",
    "liberation/LiberationSans-Bold.ttf", "liberation/LiberationSerif-Regular.ttf",
]
FONTS = [path for path in (f"/usr/share/fonts/truetype/{f}" for f in FONT_FILES)
         if os.path.exists(path)]


def plural(name):
    if name in UNCOUNTABLE:
        return name
    return PLURALS.get(name, name + ("es" if name[-1] in "sx" else "s"))


def with_article(name):
    if name in UNCOUNTABLE:
        return name
    return ("an " if name[0] in "aeiou" and name != "unicorn" else "a ") + name


def counted(name, count):
    return with_article(name) if count == 1 else f"{NUMBER_WORDS[count]} {plural(name)}"


def shape_class(shape, colour):
    return CLASS_SHAPE + SHAPES.index(shape) * len(COLOURS) + COLOUR_NAMES.index(colour)


def character_class(character):
    if character.isdigit():
        return CLASS_DIGIT + int(character)
    return CLASS_LETTER + ord(character) - ord("A")
