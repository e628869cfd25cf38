Feature: Heights that count from different levels
  As a glaciologist whose bed map counts from the geoid and whose radar from the ellipsoid
  I want them brought to one vertical datum, and to be told where I have mixed them
  So that no offset of tens of metres passes for bed topography

  Background:
    Given a user's own files, all of them above the ellipsoid
    And a geoid raster EIGEN-GL04C that lies -30 m from the ellipsoid everywhere

  Scenario Outline: Heights above the geoid and above the ellipsoid are not mixed
    Given the <file> counts from <datum>
    When I try to prepare them
    Then I am told "<message>"
    And I am told "geoid: {path: FILE, name: EIGEN-GL04C}"

    Examples:
      | file         | datum             | message                                                        |
      | low-res bed  | geoid EIGEN-GL04C | bed_lowres.tif: heights above the EIGEN-GL04C geoid, surface.tif: above the WGS84 ellipsoid |
      | surface      | geoid EIGEN-GL04C | surface.tif: above the EIGEN-GL04C geoid                       |
      | survey       | geoid EIGEN-GL04C | dense.json: above the EIGEN-GL04C geoid                        |
      | held-out     | geoid EIGEN-GL04C | judge.json: above the EIGEN-GL04C geoid                        |

  Scenario Outline: With a geoid raster all heights are brought to one datum
    Given the <file> counts from geoid EIGEN-GL04C
    And the geoid raster is named
    And the map is to count from <map>
    When I prepare them
    Then the heights of the low-res bed are changed by <bed> m
    And those of the surface by <surface> m, of the survey by <survey> m, of the held-out picks by <picks> m
    And the folder, its rasters and its picks say that they count from <map>

    # a height above the geoid is 30 m less above the ellipsoid, where the geoid lies 30 m below it
    Examples:
      | file        | map               | bed | surface | survey | picks |
      | low-res bed | ellipsoid         | -30 | 0       | 0      | 0     |
      | surface     | ellipsoid         | 0   | -30     | 0      | 0     |
      | survey      | ellipsoid         | 0   | 0       | -30    | 0     |
      | low-res bed | geoid EIGEN-GL04C | 0   | 30      | 30     | 30    |

  Scenario Outline: A geoid raster that cannot be used
    Given the low-res bed counts from geoid EIGEN-GL04C
    And the geoid raster is named
    But it <fault>
    When I try to prepare them
    Then I am told "<message>"

    Examples:
      | fault                          | message                                        |
      | is not there                   | geoid.tif: no such file                        |
      | covers half of the bed         | geoid.tif: does not cover                      |
      | lies elsewhere                 | geoid.tif: does not cover                      |
      | is in centimetres              | geoid.tif: is in cm                            |
      | holds the elevation of the bed | no geoid is farther than 107 m                 |
      | is another one, EGM2008        | geoid: {path: FILE, name: EIGEN-GL04C}         |

  Scenario Outline: Files that do not say what they count from are as before, and I am told so
    Given <who> says what it counts from
    When I prepare them
    Then I hear "<line>"
    And the heights of the low-res bed are changed by 0 m

    Examples:
      | who              | line                                                                         |
      | no file          | vertical datum: no file states one; all heights are taken to count from the same |
      | only the surface | bed_lowres.tif, dense.json, judge.json state none and are taken to count from the WGS84 ellipsoid |

  Scenario Outline: The bed below a surface of another year comes from ice thickness
    Given a survey that flew when the surface was <lowering> m higher, and knows the ice thickness
    And its bed is to come from <source>
    When I prepare them
    Then the heights of the survey are changed by <change> m

    # the surface has gone down together with the bed's aircraft heights: thickness alone is comparable
    Examples:
      | lowering | source    | change |
      | 12       | height    | 12     |
      | 12       | thickness | 0      |
      | 40       | thickness | 0      |

  Scenario: A map that counts from another datum is not judged
    Given the sandbox, prepared to count from the ellipsoid
    And a map of it that counts from geoid EIGEN-GL04C
    When I try to judge it
    Then I am told "counts from the EIGEN-GL04C geoid, the data from the WGS84 ellipsoid"
