Feature: Search for the hyper-parameters that draw the best bed
  As a glaciologist with tiles and a few nights of computing
  I want the machine to try hyper-parameters for me, judged on tiles that no network has learnt from
  So that I can train with the best of them, and say how I came by them

  Background:
    Given a survey of my own, prepared
    And ranges for a quick search

  Scenario: A search ends with a command
    When I search with 2 trials
    Then the study holds 2 trials
    And the best trial is the one with the least validation error
    And I am shown the command that trains with its hyper-parameters
    And only the weights of the best trial are kept
    And there are figures of the search: study_history, study_courses

  Scenario Outline: A search goes on where it was
    When I search with <first> trials, and later with <then>
    Then the study holds <total> trials
    And no hyper-parameters were tried twice

    Examples:
      | first | then | total |
      | 1     | 2    | 2     |
      | 2     | 1    | 2     |

  Scenario Outline: A network that comes to nothing is given up
    When a trial's validation error is <errors>
    Then the trial is given up after <epochs> epochs

    Examples:
      | errors           | epochs |
      | 60, nan          | 1      |
      | inf              | 0      |
      | 60, 50, 1e11     | 2      |

  Scenario Outline: What cannot be searched says why, in one line
    When I try to search with <option> = <value>
    Then I am told "<message>"

    Examples:
      | option          | value    | message                                                  |
      | trials          | 0        | --trials: is 0; give at least 1                          |
      | study           | study    | --study: is study; give a name that ends in .db          |
      | learning_rate   | 0, 2e-4  | --learning_rate: is 0.0 0.0002; give numbers above 0     |
      | max_epochs      | 9, 3     | --max_epochs: is 9 to 3; give the least first            |
      | fixed.momentum  | 0.9      | --fixed.momentum: train has no such option               |
      | fixed.inputs    | gravity  | holds no gravity; it holds bed_lowres                    |

  Scenario: Results of other data are not mixed in
    When I search with 1 trials
    And I try to go on with another survey
    Then I am told "holds a study with another data; choose another --study"
