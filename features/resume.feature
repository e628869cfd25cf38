Feature: Work that was cut short goes on
  As a glaciologist whose computer is switched off at night, and whose cluster gives an hour at a time
  I want to give the same command again and lose nothing
  So that long work is done in pieces, and comes out as if it had been done in one

  Background:
    Given tiles of a glacier

  Scenario Outline: Training that was stopped ends with the same network
    When training of <all> passes over the tiles is stopped after <done>
    And I give the same command again
    Then the network has the weights of one trained without a stop, to the last bit
    And each of the <all> passes stands in the log once

    Examples:
      | done | all |
      | 1    | 2   |
      | 1    | 3   |
      | 2    | 3   |

  Scenario Outline: A map that was stopped is finished, not begun anew
    Given a generator trained on them
    When the drawing of a map is stopped after <done> of its 9 blocks
    Then there is no map under its name
    When I give the same command again
    Then <left> blocks were drawn this time
    And the map is the one that is drawn without a stop

    Examples:
      | done | left |
      | 1    | 8    |
      | 4    | 5    |
      | 8    | 1    |
      | 0    | 9    |

  Scenario Outline: What has changed in the meantime is not mixed with what was there
    Given a generator trained on them
    When the drawing of a map is stopped after 4 of its 9 blocks
    And <change> in the meantime
    And I give the same command again
    Then all blocks were drawn this time
    And the map is the one that is drawn without a stop

    Examples:
      | change                                       |
      | the generator is trained for one more pass   |
      | the glacier is prepared anew with other tiles |

  Scenario Outline: What was prepared before stays whole when preparing it again fails
    When <mishap>, and I try to prepare them again in the same folder
    Then I am told "<message>"
    And what was prepared before is there as it was

    Examples:
      | mishap                                | message           |
      | half of the surface raster is lost    | fetch it again    |
      | the survey's text file is gone        | no file matches   |
      | the disk fills up while tiles are cut | the disk is full  |
