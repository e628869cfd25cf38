Feature: Emulate the flow of glaciers
  A glaciologist knows how a glacier flows from a solver that takes seconds for each frame.
  An emulator learns from such frames and answers in milliseconds: on glaciers that it has not seen,
  in any direction, and with no flow where there is no ice.

  Background:
    Given glaciers whose flow is known, in folders train, valid and test
    And they are prepared

  Scenario Outline: Every map type learns its own fields
    When I train an emulator of map type <maptype> for 1 epoch
    Then it reads <inputs>
    And it gives <outputs>

    Examples:
      | maptype | inputs                                           | outputs                                                |
      | f2      | thk, slopsurfx, slopsurfy                        | ubar, vbar                                             |
      | f11     | thk, slopsurfx, slopsurfy, arrhenius, slidingco  | ubar, vbar                                             |
      | f13     | thk, slopsurfx, slopsurfy, arrhenius, slidingco  | ubar, vbar, uvelsurf, vvelsurf                         |
      | f15     | thk, slopsurfx, slopsurfy, arrhenius, slidingco  | uvelbase, vvelbase, ubar, vbar, uvelsurf, vvelsurf     |

  Scenario Outline: North is nothing special
    Given an emulator with <network>
    When the glacier is <turned>
    Then its predicted flow is <turned> too

    Examples:
      | network         | turned                        |
      | equivariant     | turned by a quarter           |
      | equivariant     | turned by a half              |
      | equivariant     | mirrored west to east         |
      | cnn symmetrised | turned by three quarters      |
      | cnn symmetrised | mirrored north to south       |

  Scenario: No ice, no flow
    Given an emulator with cnn
    When I predict the test glaciers
    Then the velocity is exactly 0 wherever there is no ice
    And somewhere on the ice it is not

  Scenario Outline: The result opens in any system for maps
    Given an emulator with equivariant
    And a glacier in the projection <crs>
    When I predict it as <file>
    Then <file> lies in the projection <crs> on the grid of the glacier

    Examples:
      | crs        | file    |
      | EPSG:32632 | flow.nc |
      | EPSG:3413  | flow.tif |

  Scenario: A glacier unlike all that it has learnt from
    Given an emulator with equivariant
    When I predict a glacier three times as thick
    Then I am warned that thk leaves what training has seen

  Scenario: Judged on glaciers that it has not seen
    Given an emulator with equivariant
    When I predict the test glaciers
    And I evaluate the prediction
    Then the scores tell mae, rmse, relative_l1, direction_cosine, symmetry_error, leakage, energy_gap
    And the leakage is exactly 0
    And the symmetry error is below 2 %

  Scenario: Physics alone can teach
    When I train an emulator with the loss energy for 3 epochs
    Then the energy of its flow falls

  Scenario Outline: What cannot be learnt from says why, in one line
    When I try to train with <setting> = <value>
    Then I am told "<message>"

    Examples:
      | setting    | value   | message                                                    |
      | maptype    | f10     | lacks strflowctrl, which the mapping needs                 |
      | maptype    | smb     | physics scales velocities only, give plain                 |
      | maptype    | f99     | --maptype: f99 is neither one of f2, f10, f11              |
      | patch_size | 40      | 40 cells do not fit into case                              |
      | thrice     | 9000    | has no cell with more than 9000 m of ice                   |
      | loss       | huber   | 'huber' is no loss; give mae, mse, energy                  |
      | network    | resnet  | --network: is 'resnet'; give one of cnn, unet, equivariant |
