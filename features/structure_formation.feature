Feature: Learn how cosmic structure forms
  A cosmologist knows how matter moves from a simulation that takes hours for each box. An emulator learns
  from such boxes and answers in seconds, for boxes of any size; and a super-resolver draws many finer fields
  that one coarse box may have come from.

  Scenario Outline: Displacements are learnt, drawn and judged beside theory
    Given made boxes in <dimensions> dimensions
    And an emulator that has learnt from them
    When I predict the boxes that it has not seen
    And I evaluate the prediction
    Then the scores tell relative_l2, power_ratio, cross_correlation of prediction, first_order, second_order
    And each power ratio stands beside its wavenumber

    Examples:
      | dimensions |
      | 2          |
      | 3          |

  Scenario: Boxes of one's own, one file a field
    Given fields of my own as files in the other order of bytes
    When I prepare them by a list of patterns
    Then the first file of one field belongs to the first of the other
    And a training of one epoch leaves a network

  Scenario Outline: A box is drawn by blocks that do not show
    Given made boxes in <dimensions> dimensions
    And an emulator that has learnt from them
    When I predict a box as a whole and in blocks of <cells> cells
    Then both agree to rounding

    Examples:
      | dimensions | cells |
      | 2          | 5     |
      | 3          | 3     |

  Scenario: No truth is needed to predict
    Given made boxes in 2 dimensions
    And an emulator that has learnt from them
    And a box of initial conditions alone, of another size
    When I predict it
    Then the prediction has the size of that box

  Scenario: Members of a super-resolved field
    Given pairs of coarse and fine boxes
    And a super-resolver that has learnt from them
    When I draw 3 members of a box
    Then they differ from each other
    And the first two are those that I get when I draw 2
    And the scores tell crps, coverage_90 of prediction

  Scenario: Velocity is how fast the displacement grows
    Given made boxes in 2 dimensions
    And an emulator that reads the growth factor
    When I predict the boxes with their velocity
    Then each displacement has a velocity in km s-1

  Scenario: Published weights load
    Given made boxes in 2 dimensions
    And a state file as map2map writes it
    When I predict the boxes with these weights
    Then the prediction is what the network of that file gives

  Scenario Outline: What cannot be used says why, in one line
    Given made boxes in 2 dimensions
    When I try to train with <setting> = <value>
    Then I am told "<message>"

    Examples:
      | setting    | value   | message                                               |
      | crop       | 99      | 99 x 99 cells are more than a box of 16 x 16          |
      | in_pad     | -1      | --in_pad: is -1; give at least 0                      |
      | style      | hubble  | lacks the numbers hubble; it has omega_m              |
      | network    | resnet  | --network: is 'resnet'; give auto, emulator, unet     |
      | load_state | gone.pt | gone.pt: no such file                                 |
