Feature: Download a data file and check its sum
  A glaciologist gathers the radar picks and the grids that go into a bed map.
  A file that was cut off, swapped or tampered with would spoil the map unnoticed;
  so every file is compared with the SHA-256 sum of the data list before it is used.

  Background:
    Given a data centre on this machine

  Scenario Outline: A file arrives whole and is put where it belongs
    Given the data centre holds <file> with the text "<text>"
    And the data list knows its SHA-256 sum <sum> and puts it into <folder>
    When I download <file>
    Then <folder>/<file> holds the text "<text>"
    And its sum as told by sha256sum is <sum>

    # the sums were computed with `printf '%s' TEXT | sha256sum`
    Examples:
      | folder  | file            | text                | sum                                                              |
      | highres | 2030_flight.csv | LAT,LON,BOTTOM      | 7abe0f85c721fff5ade23e0fd4ca6caf3e0bbde6bfa749dfd200e3d6ba58d0e5 |
      | lowres  | bed_1km.txt     | -512.5 -498.25 -470 | 36f26a2805a6d23285e8f7a0f7010aca1197f40c54f611461b9bfa6fea488ec9 |
      | misc    | velocity.txt    | 12.5 metres a year  | f7aab50542e7490846db249dde09189620da6b7319b535e7c334491d0b86dcbe |

  Scenario: A file that is here already is not downloaded again
    Given the data centre holds bed.tif with the text "a bed"
    And the data list knows the right sum of bed.tif
    When I download bed.tif
    And I download bed.tif
    Then the data centre was asked 1 time

  Scenario: A file that differs from the list is refused
    Given the data centre holds bed.tif with the text "a bed that somebody has changed"
    And the data list knows the sum of the text "a bed" for bed.tif
    When I try to download bed.tif
    Then I am told "has the SHA-256 sum" and "expected" and what to do: "run again"
    And there is no file lowres/bed.tif

  Scenario: The line breaks and the download goes on where it stopped
    Given the data centre holds bed.tif with the text "a bed under two kilometres of ice"
    And the data list knows the right sum of bed.tif
    And the line breaks after 10 bytes
    When I download bed.tif
    Then lowres/bed.tif holds the text "a bed under two kilometres of ice"
    And the second time the data centre was asked only from byte 10 on

  Scenario Outline: A data centre with troubles that pass
    Given the data centre holds bed.tif with the text "a bed under two kilometres of ice"
    And the data list knows the right sum of bed.tif
    And the next <times> times the data centre <trouble>
    When I download bed.tif
    Then lowres/bed.tif holds the text "a bed under two kilometres of ice"

    Examples:
      | times | trouble                        |
      | 1     | falls silent                   |
      | 2     | falls silent after 10 bytes    |
      | 3     | says that it is too busy (503) |
      | 3     | breaks the line after 10 bytes |

  Scenario Outline: A data centre with troubles that do not pass is left in peace
    Given the data centre holds bed.tif with the text "a bed under two kilometres of ice"
    And the data list knows the right sum of bed.tif
    And the next 99 times the data centre <trouble>
    When I try to download bed.tif
    Then I am told "bed.tif" and "<told>" and what to do: "<remedy>"
    And the data centre was asked <asked> times
    And lowres holds no bed.tif

    # thirty redirects are followed; then asking again would not help
    Examples:
      | trouble                        | told                        | remedy                | asked |
      | falls silent                   | no progress in 4 attempts   | run again to go on    | 4     |
      | falls silent after 10 bytes    | no progress in 4 attempts   | run again to go on    | 4     |
      | says that it is too busy (503) | 503                         | run again to go on    | 4     |
      | sends me on to itself          | Exceeded 30 redirects       | see https://doi.org/  | 31    |
      | says that it is gone (404)     | not there (404              | correct the address   | 1     |
      | sends a page to log in         | has the SHA-256 sum         | run again             | 1     |
      | sends the bed of a lake        | has the SHA-256 sum         | run again             | 1     |

  Scenario: A computer that is switched off goes on the next day
    Given the data centre holds bed.tif with the text "a bed under two kilometres of ice"
    And the data list knows the right sum of bed.tif
    When I switch my computer off when 20 bytes of bed.tif are here
    Then lowres holds no bed.tif
    When I download bed.tif
    Then lowres/bed.tif holds the text "a bed under two kilometres of ice"
    And the second time the data centre was asked only from byte 20 on

  Scenario: I see how far it is
    Given the data centre holds bed.tif with the text "a bed under two kilometres of ice"
    And the data list knows the right sum of bed.tif
    When I download bed.tif at a terminal
    Then I have seen that 100% of bed.tif is here

  Scenario Outline: A file inside an archive
    Given the data centre holds <archive> in which bed.tif has the text "a bed"
    And the data list knows that bed.tif is in <archive>
    When I download bed.tif
    Then lowres/bed.tif holds the text "a bed"

    Examples:
      | archive    |
      | bed.zip    |
      | bed.tar.gz |

  Scenario: An archive that tries to write elsewhere is refused
    Given the data centre holds bad.zip in which ../bed.tif has the text "not a bed"
    And the data list knows that ../bed.tif is in bad.zip
    When I try to download bed.tif
    Then I am told "would land outside" and "member" and what to do: "do not use this archive"
    And there is no file lowres/bed.tif
    And there is no file bed.tif

  Scenario: A dead address
    Given the data list has an address of bed.tif at which there is nothing
    When I try to download bed.tif
    Then I am told "404" and "not there" and what to do: "correct the address"
    And there is no file lowres/bed.tif

  Scenario: A file that nobody has put on the internet
    Given the data list has no address of bed.tif but the article https://doi.org/10.5194/tc-5-907-2011
    When I try to download bed.tif
    Then I am told "no public address" and "https://doi.org/10.5194/tc-5-907-2011" and what to do: "by hand"

  Scenario: A file that needs a login
    Given the data list says that bed.tif needs a NASA Earthdata login
    When I try to download bed.tif
    Then I am told "needs a NASA Earthdata login" and "urs.earthdata.nasa.gov" and what to do: "EARTHDATA_TOKEN"
    And the data centre was asked 0 times

  Scenario: A file whose sum nobody has published is pinned
    Given the data centre holds bed.tif with the text "a bed"
    And the data list has no sum for bed.tif
    When I download bed.tif
    And the data centre puts another bed.tif in its place with the text "another bed"
    And I lose bed.tif and try to download it again
    Then I am told "has the SHA-256 sum" and "expected" and what to do: "run again"
    And there is no file lowres/bed.tif
