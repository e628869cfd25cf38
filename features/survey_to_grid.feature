Feature: From radar picks to a 250 m grid
  As a glaciologist with radar picks of the bed in text files
  I want a grid of the bed that says nothing where nobody has flown
  So that I can train on it, and compare maps with it

  Scenario: A flight in longitude and latitude becomes a map in metres
    Given a flight of 10 km along the meridian 0 from 71 degrees south with a bed at -600 m
    And a pipeline that projects it from EPSG:4326 to EPSG:3031
    When I read the survey and grid it at 250 m
    Then the grid is in EPSG:3031 with cells of 250 m
    And its northern edge is at 2083 km, the first edge of a cell beyond the first pick
    And the bed is -600 m wherever there is one

  Scenario: The bed is worked out from the columns of the radar file
    Given a CReSIS file whose aircraft is at 900 m and whose range to the bottom is 1500 m
    And a pipeline with the converter Z = ELEVATION-BOTTOM
    When I read the survey
    Then every pick is at -600 m

  Scenario: Wild picks do not spoil a cell
    Given five picks of 10, 11, 12, 13 and 900 m in one cell of 250 m
    When I grid them at 250 m
    Then that cell is at 12 m

  Scenario Outline: Nothing is made up far from the flight lines
    Given two parallel flights <gap> m apart
    When I grid them at 250 m
    Then the cells halfway between them are <halfway>

    Examples:
      | gap  | halfway |
      | 1000 | known   |
      | 1400 | known   |
      | 2000 | missing |
      | 5000 | missing |

  Scenario: A slope between flight lines stays a slope
    Given flights 1 km apart over a bed that falls by 20 m each km
    When I grid them at 250 m
    Then the grid falls by 20 m each km too

  Scenario: A campaign of several files is one survey
    Given the files 2007t1.txt, 2007t2.txt and istar07.txt with 10 picks each
    And a pipeline for 2007t?.txt
    When I read the survey
    Then it has 20 picks

  Scenario Outline: A survey that cannot be used says why, in one line
    Given a flight of 10 km along the meridian 0 from 71 degrees south with a bed at -600 m
    And a pipeline that projects it from EPSG:4326 to EPSG:3031
    But <fault>
    When I try to read the survey
    Then I am told "<message>"

    Examples:
      | fault                             | message                                                     |
      | the file lacks the column BED     | has 2 columns where flight.json names 3, lacks BED          |
      | the file has text for a bed       | row 3, column BED: 'deep' is no number                      |
      | the file has only missing values  | no valid row in flight.csv                                  |
      | the file is gone                  | no file matches 'flight.csv'                                |
      | the pipeline names no CRS         | no CRS; add the step filters.reprojection                   |
      | the pipeline names the CRS Mars   | step 2 (filters.reprojection): in_srs is an unknown CRS     |
      | the pipeline is no JSON           | flight.json: not JSON                                       |
      | the pipeline runs a command       | only + - * / ( ) on column names and numbers is allowed     |
