Feature: Train a generator with fixed hyper-parameters
  As a glaciologist with tiles
  I want a network that learns from them, the same way each time
  So that my results can be repeated, and a night that was cut short is not lost

  Background:
    Given the sandbox, prepared
    And a generator of 1 residual block, trained for 2 epochs with seed 7

  Scenario: The same settings give the same weights
    When I train once more with the same settings
    Then the two networks have the same weights to the last bit

  Scenario: Training that was cut off goes on as if nothing had happened
    When I train for 1 epoch only, and later go on to 2
    Then the two networks have the same weights to the last bit

  Scenario Outline: Another seed or another rate gives another network
    When I train for 1 epoch with <setting> = <value>
    Then the two networks differ

    Examples:
      | setting       | value  |
      | seed          | 8      |
      | learning_rate | 0.0002 |

  Scenario: A run is on record
    Then its folder holds config.yaml, provenance.json, checkpoints/best.ckpt, checkpoints/last.ckpt, figures/loss_curves.png
    And config.yaml says num_residual_blocks: 1, max_epochs: 2, seed: 7
    And each of 2 epochs has a loss of the generator, a loss of the discriminator and a validation error
    And the best weights are those of the epoch with the smallest validation error

  Scenario Outline: It learns from what there is
    When I train for 1 epoch on <inputs> alone
    Then the checkpoint says that it takes <inputs>
    And a map can be drawn with it

    Examples:
      | inputs                        |
      | bed_lowres                    |
      | bed_lowres, surface_elevation |

  Scenario Outline: What cannot be trained says why, in one line
    When I try to train with <setting> = <value>
    Then I am told "<message>"

    Examples:
      | setting     | value   | message                                                             |
      | inputs      | gravity | holds no gravity; it holds bed_lowres                               |
      | batch_size  | 1       | is 1, from which the batch norm in the discriminator learns nothing |
      | max_epochs  | 0       | --max_epochs: is 0; give at least 1                                 |
      | data        | nowhere | nowhere: is no prepared folder                                      |
      | accelerator | abacus  | give cpu, gpu or auto                                               |

  Scenario: A run with other settings is not overwritten
    When I try to go on with another learning rate in the same folder
    Then I am told "holds a run with another learning_rate; choose another --run, or --resume false"
