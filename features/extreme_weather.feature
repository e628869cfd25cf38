Feature: Find storms and rivers in weather
  A climate scientist has three-hourly fields of the whole globe and wants to know where tropical cyclones and
  atmospheric rivers are. Rules tell, each in its own way; a network learns from them, or from masks that are
  known, and says how sure it is.

  Scenario: Storms are learnt, told and judged beside the rules
    Given made seasons with storms, rivers and decoys
    And a network that has learnt from them
    When I predict the season that it has not seen
    And I evaluate what it tells
    Then each cell has one class of three, and the probability of each
    And tracks of cyclones and rivers lie beside, with their landfalls and a census
    And the scores tell iou_per_image, iou_pooled, found, false of prediction, labeller, second_labeller
    And the scores tell tracks_found, tracks_false of prediction, labeller, second_labeller

  Scenario: A period of a run is not split at random
    Given samples of one run
    When I prepare them with a gap of 12 hours
    Then no time of one split is nearer than that to one of another
