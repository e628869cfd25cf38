"""The channels of DeepCAM and ClimateNet, with their units, and the classes of their labels."""

CHANNELS = (
    "TMQ",
    "U850",
    "V850",
    "UBOT",
    "VBOT",
    "QREFHT",
    "PS",
    "PSL",
    "T200",
    "T500",
    "PRECT",
    "TS",
    "TREFHT",
    "Z1000",
    "Z200",
    "ZBOT",
)
UNITS = {
    "TMQ": "kg m-2",
    "QREFHT": "kg kg-1",
    **dict.fromkeys(("U850", "V850", "UBOT", "VBOT", "PRECT"), "m s-1"),
    **dict.fromkeys(("PS", "PSL"), "Pa"),
    **dict.fromkeys(("T200", "T500", "TS", "TREFHT"), "K"),
    **dict.fromkeys(("Z1000", "Z200", "ZBOT"), "m"),
}
BACKGROUND, CYCLONE, RIVER = 0, 1, 2
CLASSES = ("background", "tropical cyclone", "atmospheric river")
