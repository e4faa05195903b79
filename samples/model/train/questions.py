"""Questions about a scene, each with its one right answer.

Every function takes (rng, scene) and returns (question, answer), or None where the scene gives no
clear answer. Called by data.py (training), evaluate.py and ../../sets/make_sets.py.
"""
from vocabulary import (COLOUR_NAMES, NOUNS, NUMBER_WORDS, SHAPES, UNCOUNTABLE, WORDS, counted,
                        plural, with_article)

CAPTION_QUESTIONS = ["Describe the image.", "What is in the picture?", "Write a caption."]
LEFT_OR_TOP, RIGHT_OR_BOTTOM, UNSURE = 0.38, 0.62, 0.025


def by_name(things):
    groups = {}
    for thing in things:
        groups.setdefault(thing.name, []).append(thing)
    return groups


def plain_things(scene):
    return [thing for thing in scene.things if not thing.is_sign]


def signs(scene):
    return [thing for thing in scene.things if thing.is_sign]


def reading_order(scene, things):
    """From top to bottom by rows of patches, within a row from left to right."""
    rows = scene.classes.shape[0]
    return sorted(things, key=lambda thing: (int(thing.y * rows), thing.x))


def sign_name(thing):
    return f"{thing.name} sign"


def title(thing):
    """A thing as an answer names it."""
    return with_article(sign_name(thing) if thing.is_sign else thing.name)


def joined(parts):
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


# -- descriptions --------------------------------------------------------------------------------

def caption(rng, scene):
    question = rng.choice(CAPTION_QUESTIONS)
    if scene.layout == "page":
        return question, f"A page with {counted('line', len(scene.lines))}."
    if scene.layout == "signs":
        text = counted("sign", len(scene.things)) if scene.things else "nothing"
    else:
        text = _enumerate(scene)
    if scene.ground:
        text += f" on {with_article(scene.ground)} background"
    return question, text[0].upper() + text[1:] + "."


def _enumerate(scene):
    parts, named = [], set()
    groups = by_name(plain_things(scene))
    for thing in reading_order(scene, scene.things):
        if thing.is_sign:
            parts.append(f"{title(thing)} with {thing.text}")
        elif thing.name not in named:
            named.add(thing.name)
            parts.append(counted(thing.name, len(groups[thing.name])))
    return joined(parts) if parts else "nothing"


def read_all(rng, scene):
    """Long answers: every number and word of a page or of all signs."""
    if scene.layout == "page":
        return "Read the page.", ", ".join(f"{word} {number}" for word, number in scene.lines)
    found = reading_order(scene, signs(scene))
    if len(found) < 2:
        return None
    return "Read all signs.", ", ".join(thing.text for thing in found)


# -- things --------------------------------------------------------------------------------------

def exist(rng, scene):
    truth = rng.random() < 0.5
    if scene.layout == "page":
        words = [word for word, _ in scene.lines]
        word = rng.choice(words if truth else [w for w in WORDS if w not in words])
        return f"Is {word} on the page?", "yes" if truth else "no"
    if scene.layout == "signs":
        colours = [thing.name for thing in scene.things]
        if truth and not colours:
            return None
        colour = rng.choice(colours if truth else [c for c in COLOUR_NAMES if c not in colours])
        return f"Is there {with_article(colour + ' sign')}?", "yes" if truth else "no"
    groups = by_name(plain_things(scene))
    if truth:
        if not groups:
            return None
        name = rng.choice(list(groups))
    else:
        shape = f"{rng.choice(COLOUR_NAMES)} {rng.choice(SHAPES)}"
        name = rng.choice(NOUNS) if rng.random() < 0.5 else shape
    return f"Is there {with_article(name)}?", "yes" if name in groups else "no"


def count(rng, scene):
    if scene.layout == "page":
        return "How many lines are there?", str(len(scene.lines))
    if scene.layout == "signs":
        return "How many signs are there?", str(len(scene.things))
    groups = by_name(plain_things(scene))
    names = [name for name in groups if name not in UNCOUNTABLE]
    if rng.random() < 0.08 or not names:
        names = [name for name in NOUNS if name not in UNCOUNTABLE]
    name = rng.choice(names)
    return f"How many {plural(name)} are there?", str(len(groups.get(name, [])))


def place_name(x, y):
    across = "left" if x < LEFT_OR_TOP else "right" if x > RIGHT_OR_BOTTOM else ""
    down = "top" if y < LEFT_OR_TOP else "bottom" if y > RIGHT_OR_BOTTOM else ""
    return " ".join(part for part in (down, across) if part) or "center"


def place(thing):
    """Where a thing is in words, or None where it lies on a border between two."""
    for value in (thing.x, thing.y):
        if min(abs(value - LEFT_OR_TOP), abs(value - RIGHT_OR_BOTTOM)) < UNSURE:
            return None
    return place_name(thing.x, thing.y)


def where(rng, scene):
    single = [group[0] for group in by_name(scene.things).values() if len(group) == 1]
    clear = [thing for thing in single if place(thing)]
    if not clear:
        return None
    thing = rng.choice(clear)
    name = sign_name(thing) if thing.is_sign else thing.name
    return f"Where is the {name}?", place(thing)


def side(rng, scene):
    """The outermost thing towards one side, where it clearly is that."""
    if len(scene.things) < 2:
        return None
    across, first = rng.random() < 0.5, rng.random() < 0.5
    key = (lambda thing: thing.x) if across else (lambda thing: thing.y)
    ordered = sorted(scene.things, key=key, reverse=not first)
    if abs(key(ordered[0]) - key(ordered[1])) < 0.1:
        return None
    if across:
        return f"What is on the {'left' if first else 'right'}?", title(ordered[0])
    return f"What is at the {'top' if first else 'bottom'}?", title(ordered[0])


def corner(rng, scene):
    """The thing nearest to a corner, where it clearly is that and lies in that quarter."""
    down, across = rng.random() < 0.5, rng.random() < 0.5
    away = sorted((abs(thing.x - across) + abs(thing.y - down), i)
                  for i, thing in enumerate(scene.things))
    if len(away) < 2 or away[1][0] - away[0][0] < 0.15:
        return None
    thing = scene.things[away[0][1]]
    if abs(thing.x - across) > 0.45 or abs(thing.y - down) > 0.45:
        return None
    name = f"{'bottom' if down else 'top'} {'right' if across else 'left'}"
    return f"What is in the {name} corner?", title(thing)


def color(rng, scene):
    if scene.layout == "signs":
        if not scene.things:
            return None
        thing = rng.choice(scene.things)
        return f"What color is the sign with {thing.text}?", thing.name
    shapes = [thing for thing in scene.things if thing.kind == "shape"]
    if not shapes:
        return None
    name = rng.choice(shapes).name
    colour, shape = name.split()
    if len({thing.name for thing in shapes if thing.name.endswith(shape)}) > 1:
        return None
    if len([thing for thing in shapes if thing.name == name]) == 1:
        return f"What color is the {shape}?", colour
    return f"What color are the {plural(shape)}?", colour


def ground(rng, scene):
    if not scene.ground or scene.layout == "page":
        return None
    return "What color is the background?", scene.ground


# -- text ----------------------------------------------------------------------------------------

def read(rng, scene):
    found = signs(scene)
    if not found:
        return None
    thing = rng.choice(found)
    name = "sign" if len(found) == 1 else sign_name(thing)
    return f"What {thing.kind} is on the {name}?", thing.text


def lookup(rng, scene):
    if not scene.lines:
        return None
    word, number = rng.choice(scene.lines)
    return f"What is the number of {word}?", number


def key(rng, scene):
    if not scene.lines:
        return None
    word, number = rng.choice(scene.lines)
    return f"Which word has the number {number}?", word


def line(rng, scene):
    if not scene.lines:
        return None
    i = rng.randrange(len(scene.lines))
    return f"Read line {NUMBER_WORDS[i + 1]}.", " ".join(scene.lines[i])


KINDS = {
    "caption": caption, "list": read_all, "exist": exist, "count": count, "where": where,
    "side": side, "corner": corner, "color": color, "ground": ground, "read": read,
    "lookup": lookup, "key": key, "line": line,
}
# how often a kind is tried, by layout
SHARES = {
    "plain": {"exist": 15, "count": 22, "where": 20, "side": 15, "corner": 8, "color": 8,
              "ground": 3, "read": 30},
    "many": {"exist": 14, "count": 30, "where": 20, "side": 12, "corner": 12, "color": 6,
             "ground": 2},
    "signs": {"read": 45, "list": 12, "where": 10, "side": 6, "corner": 6, "color": 12,
              "count": 5, "exist": 4},
    "page": {"lookup": 45, "line": 18, "key": 14, "list": 12, "count": 5, "exist": 6},
}


def in_image(question, index):
    """The question as it is asked of image `index` (from 0) of several."""
    if question in CAPTION_QUESTIONS:
        return f"Describe image {index + 1}."
    return f"In image {index + 1}, {question[0].lower()}{question[1:]}"


def ask(rng, scene, number, shares=None):
    """Up to `number` different (kind, question, answer): a caption among them, or, where shares are
    given, only the kinds these name."""
    asked = [] if shares else [("caption", *caption(rng, scene))]
    kinds, weights = zip(*(shares or SHARES[scene.layout]).items())
    for _ in range(number * 4):
        if len(asked) >= number:
            break
        kind = rng.choices(kinds, weights)[0]
        found = KINDS[kind](rng, scene)
        if found and all(found[0] != question for _, question, _ in asked):
            asked.append((kind, *found))
    rng.shuffle(asked)
    return asked
