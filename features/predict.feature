Feature: Predict a four times finer map of the bed
  As a glaciologist with a trained generator
  I want a 250 m bed map of the box that I study, or of all that is known
  So that I can see valleys and ridges that a map of 1 km does not show

  Background:
    Given a generator trained on the sandbox

  Scenario Outline: A map for a bounding box
    When I ask for the bed from <west> to <east> km and from <south> to <north> km of the sandbox's corner
    Then the map has <rows> rows and <columns> columns of 250 m in EPSG:3031
    And it spans just that box
    And it has four cells along each kilometre of the low-res bed
    And it is the same as that part of the map of the whole, to less than 1 cm

    Examples:
      | west  | east  | south | north | rows | columns |
      | 10    | 30    | 5     | 15    | 40   | 80      |
      | 0     | 9     | 51    | 60    | 36   | 36      |
      | 27.5  | 32.25 | 40.75 | 41.5  | 3    | 19      |
      | 59.75 | 60    | 0     | 0.25  | 1    | 1       |

  Scenario: A box in uneven metres is rounded outward to whole cells
    When I ask for the bed from 10.1 to 12.9 km and from 20.2 to 21.3 km of the sandbox's corner
    Then the map spans 10 to 13 km and 20 to 21.5 km of the sandbox's corner

  Scenario: Without a box, all that is known
    When I ask for the bed of the whole sandbox
    Then the map has 240 rows and 240 columns of 250 m in EPSG:3031
    And no cell is missing

  Scenario Outline: In the format that I name
    When I ask for the bed from 10 to 12 km and from 20 to 21 km of the sandbox's corner, as <file>
    Then <file> is a <format> in metres, of 32 bits, that marks missing cells as NaN

    Examples:
      | file    | format                         |
      | bed.tif | cloud-optimised GeoTIFF        |
      | bed.nc  | NetCDF with the CF conventions |

  Scenario Outline: A box that cannot be drawn says why, in one line
    When I try to draw the bed from <west> to <east> km and from <south> to <north> km of the sandbox's corner
    Then I am told "<message>"
    And there is no map

    Examples:
      | west | east | south | north | message                                      |
      | -20  | -10  | 0     | 10    | is not within the data's box                 |
      | 50   | 70   | 0     | 10    | is not within the data's box                 |
      | 0    | 10   | 61    | 62    | is not within the data's box                 |
      | 30   | 10   | 0     | 10    | give west, south, east, north, in this order |
      | 10   | 10   | 0     | 10    | give west, south, east, north, in this order |

  Scenario Outline: A generator that cannot be used says why, in one line
    Given <fault>
    When I try to draw the bed from 10 to 12 km and from 20 to 21 km of the sandbox's corner
    Then I am told "<message>"
    And there is no map

    Examples:
      | fault                              | message                                                         |
      | nobody has trained yet             | holds neither checkpoints/best.ckpt nor a .npz or .safetensors file; train with |
      | the checkpoint is a text file      | cannot be read as a checkpoint                                  |
      | the checkpoint would run a command | cannot be read as a checkpoint                                  |
