Feature: Draw a map with weights of the original DeepBedMap
  As a glaciologist with weights that were trained years ago, in Chainer
  I want the map that they draw, from today's data and without Chainer
  So that my old results can be checked, and compared with new ones

  Background:
    Given the sandbox, prepared

  Scenario Outline: A map from old weights
    Given old weights of <blocks> residual blocks in old.npz
    When I ask old.npz for the bed from 20 to <east> km and from 30 to 35 km of the sandbox's corner
    Then the map has 20 rows and <columns> columns of 250 m
    And it shows the bed that the generator draws from raw metres, to less than 1 cm
    And there was no need of a trained run

    Examples:
      | blocks | east | columns |
      | 1      | 26   | 24      |
      | 2      | 30   | 40      |

  Scenario: Weights go out and come back as they were
    Given a generator with old weights of 1 residual block
    When I save it for Chainer and load it once more
    Then every weight is the same to the last bit

  Scenario: The share of the residuals is not in the file, so I may say it
    Given old weights of 1 residual block in old.npz
    When I ask old.npz for the bed with a residual scaling of 0.2, and once more of 0.1
    Then the first map is that without a residual scaling named, and the second is another

  Scenario Outline: Old weights that cannot be used say why, in one line
    Given old weights of 1 residual block in old.npz
    But <fault>
    When I try to draw the bed with <weights>
    Then I am told "<message>"
    And there is no map

    Examples:
      | fault                                   | weights  | message                                           |
      | nothing is wrong with them              | gone.npz | gone.npz: no such file; check the path            |
      | nothing is wrong with them              | first    | give best, last or the path of a .npz or .safetensors file |
      | they are a text file                    | old.npz  | is no .npz file                                   |
      | they would run a command                | old.npz  | holds object, not numbers                         |
      | they lack post_residual_conv_layer/W    | old.npz  | lacks post_residual_conv_layer/W                  |
      | they have gravity/W besides             | old.npz  | has besides gravity/W                             |
      | pre_residual_conv_layer/W is 1 x 1      | old.npz  | pre_residual_conv_layer/W has the shape           |
      | they are those of a discriminator       | old.npz  | lacks final_conv_layer1/deform_conv/W             |
      | the data lack snow_accumulation         | old.npz  | needs the input snow_accumulation                 |
