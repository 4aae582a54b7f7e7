"""A realistic catalogue, the same for the same seed, and the slips of people who type its words.

Half of the series are words that everybody knows, half are invented, as furniture brands do: those differ from each
other by a letter or two, which is the hard case for a search that forgives slips.
"""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

from tillmesh.inventory.v1 import catalog_pb2


def _words(text: str) -> list[str]:
    return text.split()


SERIES = _words("""
Acacia Admiral Alabaster Amaryllis Amber Amethyst Anchor Apollo Apricot Arcadia Ardent Argyle Artemis Aspen Aster Atlas
Aurora Autumn Avalon Azure Bamboo Banyan Basalt Beacon Bellflower Bergamot Birchwood Bliss Blossom Bonfire Boreal Bramble
Breeze Bronze Buttercup Calypso Camellia Canopy Canyon Caramel Cardinal Carnation Cascade Cassia Cedar Celeste Charm
Chestnut Chime Cinder Cinnamon Citrine Clarity Clementine Clover Cobalt Comet Compass Copper Coral Cosmos Cotton Crescent
Crimson Crystal Cypress Daffodil Dahlia Damask Dawn Daydream Delta Desire Dewdrop Diamond Dolphin Dragonfly Driftwood
Dune Dusk Ebony Echo Eclipse Elderberry Element Elm Ember Emerald Enigma Equinox Essence Ether Evergreen Fable Falcon Fern
Fiesta Flamingo Flare Fleur Flora Foliage Forest Fountain Foxglove Freesia Frost Galaxy Garden Gardenia Garland Garnet
Geode Ginger Glacier Glade Glimmer Glow Gossamer Granite Grove Halo Harbour Harmony Harvest Haven Hazel Heather Heirloom
Helios Heritage Hibiscus Hickory Highland Hollow Honey Horizon Hyacinth Icicle Indigo Infinity Iris Ivory Jasmine Jasper
Jewel Jubilee Juniper Karma Kindle Kismet Lagoon Lantern Larch Lavender Legacy Lemon Lilac Lily Linden Lotus Lumen Lunar
Lyric Magnolia Mahogany Malachite Mandarin Maple Marble Marigold Marina Marvel Meadow Mellow Meridian Midnight Mimosa
Mint Mirage Mistral Monsoon Moonlight Morning Mosaic Muse Mystic Nebula Nectar Neptune Nimbus Noble Nocturne Nomad Nova
Nutmeg Oasis Ocean Olive Opal Orbit Orchard Orchid Oriole Osprey Palm Panorama Pansy Paprika Paradise Passion Pastel Peach
Pearl Pebble Peony Pepper Petal Phoenix Pine Pinnacle Pistachio Plum Polar Poppy Prairie Primrose Prism Pristine Quartz
Quince Radiance Rain Ranger Raspberry Raven Reef Reverie Rhapsody Ripple River Robin Rosebud Rosewood Royal Ruby Saffron
Sage Sahara Sandstone Sapphire Satin Savanna Scarlet Season Sequoia Serenade Shadow Shimmer Sienna Silhouette Silver
Sirocco Skylark Smoke Snowdrop Solace Solstice Sonata Sorbet Sparrow Spruce Starlight Stella Storm Summer Summit Sundance
Sunflower Sunset Swan Sycamore Symphony Tamarind Tangerine Teak Tempest Thistle Thunder Thyme Tidal Timber Topaz Tranquil
Tulip Tundra Turquoise Twilight Umber Valley Vanilla Velour Velvet Venus Verbena Vesper Vintage Violet Vista Walnut
Waterfall Whisper Wildflower Willow Winter Wisteria Wonder Yarrow Zenith Zephyr Zinnia
""")
_FIRST = _words(
    "Berg Bjork Dal Ek Fjall Grund Holm Hav Hult Hed Kall Kull Lind Lund Mal Nord Ost Rag Sand Skog Sten Sund Tall Vik"
)
_LAST = _words(
    "berga boda borg by dal fors gard hamn holma hult ken lanna mora nas rum sala sele sjo stad torp vallen vik"
)
INVENTED = [first + last for first in _FIRST for last in _LAST]

QUALITIES = _words("""
Radiant Matte Silky Luminous Sheer Intense Gentle Bold Classic Natural Everyday Luxury Hydrating Nourishing Weightless
Longwear Waterproof Organic Refined Rustic Modern Compact Foldable Stackable Upholstered Handmade Reclaimed Polished
Brushed Woven Quilted Tufted Extendable Adjustable Minimal Original
""")
MAKES = ["Aurelle", "Holm", "Maison Delacourt", "Northwick", "Rosée", "Tamsin & Vale", "Hearth", "Kestrel"]
# Kind, category, axis: what hangs together.
KINDS = [
    *((kind, "Face/Lips", "shade") for kind in ("Lipstick", "Gloss", "Lip Liner", "Lip Balm", "Lip Oil")),
    *(
        (kind, "Face/Complexion", "shade")
        for kind in ("Foundation", "Concealer", "Powder", "Blush", "Bronzer", "Primer")
    ),
    *((kind, "Eyes", "shade") for kind in ("Mascara", "Eyeliner", "Eyeshadow", "Brow Pencil", "Kohl")),
    *(
        (kind, "Skin", "size")
        for kind in ("Serum", "Cream", "Cleanser", "Toner", "Lotion", "Sunscreen", "Mask", "Scrub")
    ),
    *((kind, "Hair", "size") for kind in ("Shampoo", "Conditioner", "Hairspray", "Hair Oil", "Treatment")),
    *((kind, "Fragrance", "size") for kind in ("Perfume", "Cologne", "Candle", "Diffuser")),
    *((kind, "Living/Seating", "fabric") for kind in ("Sofa", "Armchair", "Ottoman", "Loveseat", "Footstool", "Bench")),
    *((kind, "Dining", "wood") for kind in ("Table", "Chair", "Sideboard", "Barstool", "Cabinet")),
    *((kind, "Bedroom", "wood") for kind in ("Bedframe", "Nightstand", "Wardrobe", "Dresser", "Headboard")),
    *((kind, "Lighting", "finish") for kind in ("Floor Lamp", "Pendant", "Chandelier", "Sconce", "Desk Lamp")),
    *((kind, "Textiles", "colour") for kind in ("Cushion", "Blanket", "Curtain", "Carpet", "Bedspread", "Pillow")),
    *((kind, "Storage", "wood") for kind in ("Bookcase", "Shelf", "Trunk", "Basket", "Drawer Unit")),
]
VALUES = {
    "shade": ["Cherry", "Nude", "Plum", "Rosé", "Coral", "Berry", "Mauve", "Sand", "Porcelain", "Espresso"],
    "size": ["30 ml", "50 ml", "100 ml", "200 ml", "400 ml"],
    "fabric": ["Linen sand", "Wool grey", "Velvet moss", "Leather tan", "Cotton white", "Bouclé cream"],
    "wood": ["Oak", "Walnut", "Ash", "Beech", "Pine"],
    "finish": ["Brass", "Black", "Chrome", "Nickel", "Copper"],
    "colour": ["Grey", "Moss", "Rust", "Navy", "Ochre", "White"],
}


def products(count: int, seed: int) -> Iterator[catalog_pb2.Product]:
    """Products whose names differ, with 2 to 6 variants, 4 on average: their values of one axis."""
    chance = random.Random(seed)
    taken: set[tuple[str, str, str]] = set()
    while len(taken) < count:
        kind, category, axis = chance.choice(KINDS)
        series, quality = chance.choice(SERIES if chance.random() < 0.5 else INVENTED), chance.choice(QUALITIES)
        if (series, quality, kind) in taken:
            continue
        taken.add((series, quality, kind))
        number = len(taken)
        yield catalog_pb2.Product(
            code=f"P{number:06}",
            name=f"{series} {quality} {kind}",
            brand=chance.choice(MAKES),
            category=category,
            variants=[
                catalog_pb2.Variant(
                    sku=f"{number:06}-{n}", name=value, options=[catalog_pb2.OptionValue(axis=axis, value=value)]
                )
                for n, value in enumerate(chance.sample(VALUES[axis], chance.randint(2, min(6, len(VALUES[axis])))))
            ],
        )


def slip(word: str, edits: int, chance: random.Random) -> str:
    """The word with that many letters put in, left out, exchanged or swapped with their neighbour; never the word."""
    while True:
        typed = word
        for _ in range(edits):
            typed = _edit(typed, chance)
        if typed != word:
            return typed


def _edit(word: str, chance: random.Random) -> str:
    letter, place = chance.choice(string.ascii_lowercase), chance.randrange(len(word))
    between = chance.randrange(len(word) - 1)
    match chance.choice(("insert", "delete", "substitute", "transpose")):
        case "insert":
            place = chance.randrange(len(word) + 1)
            return word[:place] + letter + word[place:]
        case "delete":
            return word[:place] + word[place + 1 :]
        case "substitute":
            return word[:place] + letter + word[place + 1 :]
        case _:
            return word[:between] + word[between : between + 2][::-1] + word[between + 2 :]
