Feature: Forecast temperature hour by hour
  A meteorologist has hourly maps of temperature and wants the next twelve hours, with how sure they are, and
  to know by how much they are better than what costs nothing: yesterday's weather, and the change since.

  Scenario: Forecasts are learnt, drawn and judged beside what costs nothing
    Given made weather whose best forecast is known
    And a network that has learnt from it
    When I forecast the hours that it has not seen
    And I evaluate the forecasts
    Then each forecast has an init time, hours ahead and members
    And the scores tell mse of prediction, persistence, damped_persistence, climatology, best_possible by lead

  Scenario: Experiments are set beside each other
    Given two experiments that were evaluated
    When I compare them
    Then their scores stand over the init times that both forecast

  Scenario: No hour is in two splits
    Given hours of two months
    When I prepare them with a buffer of 24 hours
    Then no hour of one split is nearer than that to one of another
