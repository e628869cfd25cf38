Feature: From a gridded bed to tiles to learn from
  As a glaciologist with gridded radar surveys
  I want them cut into small squares, with all that is known of the same places from satellites
  So that a network can learn from them, and never sees what it will be judged on

  Scenario Outline: Every place where 9 km are known without a gap becomes a tile
    Given a survey of <width> by <height> km, gridded at 250 m
    When I slide a window of 9 km over it in steps of <step> m
    Then there are <tiles> tiles

    Examples:
      | width | height | step | tiles |
      | 9     | 9      | 750  | 1     |
      | 12    | 9      | 750  | 5     |
      | 12    | 12     | 1000 | 16    |
      | 20    | 8.75   | 750  | 0     |

  Scenario Outline: No tile holds a missing cell
    Given a survey of 30 by 9 km, gridded at 250 m
    And one cell at <hole> km from its western edge is missing
    When I slide a window of 9 km over it in steps of 1000 m
    Then the tiles start at <starts> km from its western edge

    # a tile that starts at 6 km ends at 15 km, just short of a cell from 15 to 15.25 km
    Examples:
      | hole | starts                                |
      | 15   | 0, 1, 2, 3, 4, 5, 6, 16, 17, 18, 19, 20, 21 |
      | 0    | 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21 |
      | 8    | 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21 |

  Scenario Outline: Tiles lie on grounded ice, or not far from it
    Given a survey of 30 by 9 km, gridded at 250 m
    And ice that is grounded from 10 km eastward, and floats to the west of it
    When I slide a window of 9 km over it by 1000 m, within <buffer> km of grounded ice
    Then the westernmost tile starts at <west> km

    Examples:
      | buffer | west |
      | 0      | 10   |
      | 2      | 8    |
      | 4.5    | 6    |
      | 10     | 0    |

  Scenario: The bounds are kept in metres and in degrees
    Given the sandbox, prepared
    Then each tile is a square of 9 km in EPSG:3031
    And the same tiles in EPSG:4326 lie at the same places to within a metre
    And each is marked as one to train on or one to validate on

  Scenario Outline: All inputs are cut on the same places, each at its own spacing and 1 km wider
    Given the sandbox, prepared
    Then a tile of <input> has <channels> x <cells> x <cells> cells of <spacing> m

    Examples:
      | input             | channels | cells | spacing |
      | bed               | 1        | 36    | 250     |
      | bed_lowres        | 1        | 11    | 1000    |
      | surface_elevation | 1        | 110   | 100     |
      | ice_velocity      | 2        | 22    | 500     |
      | snow_accumulation | 1        | 11    | 1000    |

  Scenario Outline: A tile shows what the map shows at its place
    Given the sandbox, prepared
    Then the tiles of <input> equal <file> there

    Examples:
      | input             | file                                         |
      | bed_lowres        | lowres/bedmap2_bed.tif                       |
      | snow_accumulation | misc/Arthern_accumulation_bedmap2_grid1.tif  |
      | surface_elevation | inputs/surface_elevation.tif                 |

  Scenario: Training, validation and judgement keep apart
    Given the sandbox, prepared
    Then training tiles are at least 2 km away from validation tiles
    And no tile is nearer than 2 km to a radar pick that is held out

  Scenario Outline: Surveys that give no tiles say why, in one line
    Given a user's own files
    But <fault>
    When I try to prepare them
    Then I am told "<message>"

    Examples:
      | fault                                          | message                                       |
      | the survey is one flight                       | no survey covers a whole tile of 9 km         |
      | the survey covers 10 km only                   | 4 windows cannot be split                     |
      | the survey lies where nothing else is known    | picks lies in the region of the other data    |
      | the ice is grounded nowhere near               | no survey covers a whole tile of 9 km on grounded ice |
      | half of the surface raster has been lost       | it is truncated, fetch it again               |
