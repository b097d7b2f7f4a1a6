"""Invented film titles: a small grammar whose words follow the film's genre."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_ADJECTIVES = """
Amber Borrowed Brass Careful Clockwork Copper Crooked Distant Drowsy Emerald Faithful Feather
Forgotten Gentle Glass Golden Half-Lit Hidden Honest Hollow Impatient Indigo Ivory Last Late
Little Lonesome Marble Midwinter Moonlit Nameless Northern Old Paper Patient Polite Quiet
Reluctant Restless Salt Scarlet Second Seventh Silver Sleepless Slow Stubborn Tin Uncommon
Unlikely Velvet Wandering Weathered Whispering Wooden Yellow
""".split()  # noqa: SIM905 (words are read in lines, not in fifty literals)
_NAMES = """
Adela Alma Ambrose Anselm Bettina Brigid Casimir Clementine Conrad Cosima Cyprian Delphine
Dorothea Edmund Elspeth Emeric Fennimore Fidelia Florian Greta Gwendolen Hana Hector Ignatius
Ilse Imogen Isidore Jasper Josephine Juniper Kasimira Lavinia Leopold Lucasta Magnus Marigold
Matthias Mirabel Nadia Octavia Odette Orlando Ottilie Percival Petra Quentin Rosamund Rufus
Séraphine Silvan Solange Tobias Ursula Valentin Wilhelmina Ximena Yvaine Zoltan
""".split()  # noqa: SIM905
_PLACES = (
    """
Alder Creek|Almond Street|Ambergate|Bellwether|Black Fen|Blue Anchor Bay|Calder Falls
Candlewick|Castle Ravenel|Cinder Lane|Copperfield Junction|Dunmarrow|Eastlight|Ellery Point
Farrow Hill|Fennel Square|Gallow's End|Glimmerhaven|Göttersee|Harrow Island|Hazelmere
Juniper Flats|Kestrel Ridge|Lantern Row|Larkspur|Lindenau|Lower Wick|Marlow Bay|Mirador
Mount Sorrel|Nettlecombe|New Arcady|Oriole Park|Pinewater|Port Ellery|Quarry Road|Quillon
Rosewater|Rue Félicité|Saint-Aurèle|Salt Harbor|San Ysidoro|Sparrow Heights|Tamarind Key
Thistledown|Three Rivers|Umber Valley|Valdoré|Villaseñor|Weir House|West Merrow|Willow Gate
Winterbourne|Yarrow
""".strip()
    .replace("\n", "|")
    .split("|")
)
_NOUNS_OF_GENRE = """
unknown: Reel Fragment Filmstrip
Action: Ambush Bullet Chase Fugitive Getaway Hammer Payload Pursuit Runaway Showdown Siege
Adventure: Atlas Caravan Compass Expedition Island Lagoon Map Ransom Treasure Voyage Zeppelin
Animation: Acorn Balloon Carousel Inkwell Mitten Pocket Puppet Teapot Umbrella Weathervane
Children's: Badger Birthday Duckling Goose Kite Marble Pony Puddle Sandcastle Snowman Treehouse
Comedy: Appointment Banquet Butler Engagement Houseguest Landlady Misprint Nephew Picnic Wedding
Crime: Alibi Bankroll Burglar Counterfeit Double-Cross Heist Informer Ledger Safecracker Verdict
Documentary: Archive Census Harvest Museum Orchestra Portrait Railway Season Shipyard Weather
Drama: Anniversary Confession Daughter Funeral Homecoming Inheritance Letter Orchard Silence Son
Fantasy: Alchemist Changeling Dragon Enchanter Lamp Mirror Oracle Riddle Spell Griffin
Film-Noir: Ashtray Blackmail Cigarette Corridor Fog Hat Neon Shadow Stranger Trenchcoat
Horror: Cellar Coffin Crypt Fang Graveyard Howl Nightmare Phantom Scarecrow Séance
Musical: Cabaret Chorus Encore Foxtrot Lullaby Melody Overture Serenade Tango Waltz
Mystery: Candle Cipher Clue Disappearance Envelope Footprint Keyhole Locket Puzzle Witness
Romance: Bouquet Courtship Embrace Heart Honeymoon Kiss Promise Proposal Rendezvous Valentine
Sci-Fi: Android Comet Experiment Galaxy Machine Nebula Orbit Robot Satellite Signal Starship
Thriller: Conspiracy Countdown Deadline Hostage Motive Passenger Suspect Threat Trap Wire
War: Armistice Barracks Battalion Bugle Convoy Furlough Lieutenant Outpost Platoon Trench
Western: Canyon Deputy Drifter Homestead Lasso Mustang Prairie Saddle Sheriff Stagecoach
"""
_NOUNS = {
    genre: nouns.split()
    for genre, nouns in (line.split(": ") for line in _NOUNS_OF_GENRE.strip().splitlines())
}
_PATTERNS = (
    "The {adjective} {noun} of {place}",
    "{name} and the {adjective} {noun}",
    "{adjective} {noun}, {adjective2} {noun2}",
    "The {noun} at {place}",
    "{name}'s {adjective} {noun}",
    "{place}: The {noun}",
    "A {noun} for {name}",
    "{name} of {place}",
    "The {adjective} {noun} and the {noun2}",
    "No {noun} in {place}",
)


def invent(
    rng: np.random.Generator, genres: Sequence[Sequence[str]], years: Sequence[int]
) -> list[str]:
    """One title with its year for each film, no two alike even without the year."""
    taken: set[str] = set()
    titles = []
    for of_film, year in zip(genres, years, strict=True):
        name = _name(rng, of_film)
        while name in taken:
            name = _name(rng, of_film)
        taken.add(name)
        titles.append(f"{name} ({year})")
    return titles


def _name(rng: np.random.Generator, genres: Sequence[str]) -> str:
    noun = _pick(rng, _NOUNS[_pick(rng, genres)])
    noun2 = _pick(rng, [word for word in _NOUNS[_pick(rng, genres)] if word != noun])
    words = {
        "adjective": _pick(rng, _ADJECTIVES),
        "adjective2": _pick(rng, _ADJECTIVES),
        "name": _pick(rng, _NAMES),
        "noun": noun,
        "noun2": noun2,
        "place": _pick(rng, _PLACES),
    }
    title = _pick(rng, _PATTERNS).format(**words)
    article, _, rest = title.partition(" ")
    return f"An {rest}" if article == "A" and rest[0] in "AEIOU" else title


def _pick(rng: np.random.Generator, words: Sequence[str]) -> str:
    return words[int(rng.random() * len(words))]
