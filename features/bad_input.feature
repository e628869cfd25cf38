Feature: A mistake is told in one line, and nothing is spoilt
  As a glaciologist who misspells a name, or is handed a file that is not what it should be
  I want to read in one line what is wrong, where, and what to do
  So that I need not read a programmer's traceback, and what I had is still there

  Scenario Outline: A slip in a command
    Given a folder with a low-res bed, a surface, a survey and their FILE.yaml
    When I type: fieldwise <command>
    Then the answer is one line with "<told>" and "<remedy>"
    And the command is reported as failed
    And the folder holds what it held before

    Examples:
      | command                                                 | told                                      | remedy                         |
      | bed_topografy prepare                                   | 'bed_topografy' is no recipe              | choose bed_topography          |
      | bed_topography learn                                    | 'learn' is no verb                        | choose prepare, train          |
      | bed_topography prepare --sauce own.yaml                 | --sauce                                   | prepare --help                 |
      | bed_topography prepare --source mine.yaml               | mine.yaml: no such file                   | `sandbox` or a FILE.yaml       |
      | bed_topography prepare --size_km 10                     | size_km is 10                             | from 60 to 400                 |
      | bed_topography prepare --size_km wide                   | --size_km                                 | prepare --help                 |
      | bed_topography prepare --source own.yaml --tile_cells 0 | --tile_cells: is 0                        | give at least 1                |
      | bed_topography train --data elsewhere                   | elsewhere: is no prepared folder          | make one with the verb prepare |
      | bed_topography train --max_epochs many                  | --max_epochs                              | train --help                   |
      | bed_topography train --augment twice                    | --augment                                 | north_south                    |
      | bed_topography predict --bounds 0 0 1                   | --bounds                                  | predict --help                 |
      | bed_topography predict --out map.jpg                    | map.jpg                                   | written as .tif, .nc or .zarr  |
      | bed_topography evaluate --data elsewhere                | elsewhere: is no prepared folder          | make one with the verb prepare |
      | download --names bedmap2_bad.tif                        | 'bedmap2_bad.tif' is not in the data list | did you mean bedmap2_bed.tif?  |
      | download --data_list none.yml                           | none.yml: no such data list               | name the list                  |
      | notebooks --names data_pep                              | data_pep.ipynb: no such notebook          | data_prep                      |
      | notebooks --names data_prep --parameters sizekm=100     | no notebook takes sizekm                  | size_km                        |
      | notebooks --names data_prep --parameters size_km        | 'size_km' should be NAME=VALUE            | such as size_km=100            |

  Scenario Outline: A slip in the list of files
    Given a folder with a low-res bed, a surface, a survey and their FILE.yaml
    And the FILE.yaml has <slip>
    When I type: fieldwise bed_topography prepare --source own.yaml --out data
    Then the answer is one line with "<told>" and "<remedy>"
    And the command is reported as failed
    And no folder data is prepared

    Examples:
      | slip                                       | told                             | remedy                         |
      | spacing_m: fine                            | spacing_m is 'fine'              | a number of metres such as 250 |
      | spacing_m: 300                             | lowres_spacing_m must be 4 times | spacing_m                      |
      | crs: EPSG:4326                             | crs EPSG:4326 is not in metres   | a projection such as EPSG:3031 |
      | crs: the south pole                        | unknown CRS 'the south pole'     | an EPSG code such as EPSG:3031 |
      | surveis: [dense.json]                      | surveis is not known             | surveys                        |
      | surveys: dense.json                        | surveys is 'dense.json'          | give a list                    |
      | surveys: [sparse.json]                     | sparse.json: cannot be read      | give the path of a pipeline    |
      | region: [0, 0, 9000]                       | is not four numbers              | west, south, east, north       |
      | held_out: {areas: [[1, 2, 3]]}             | held_out areas                   | [west, south, east, north]     |
      | inputs: {surface_elevation: {path: a.tif}} | inputs lack bed_lowres           | the bed that is to be refined  |

  Scenario Outline: A file that is not what it should be
    Given a folder with a low-res bed, a surface, a survey and their FILE.yaml
    And the <file> <fault>
    When I type: fieldwise bed_topography prepare --source own.yaml --out data
    Then the answer is one line with "<file name>" and "<told>"
    And the command is reported as failed
    And no folder data is prepared

    Examples:
      | file           | fault                              | file name   | told                             |
      | surface        | has been lost                      | surface.tif | no such file                     |
      | surface        | is only half there                 | surface.tif | fetch it again                   |
      | surface        | is a photograph of the camp        | surface.tif | cannot be read as a raster       |
      | surface        | is of the other side of Antarctica | surface.tif | do not overlap                   |
      | surface        | has no value in any cell           | surface.tif | every value is missing           |
      | survey's table | has been lost                      | dense.csv   | download the survey              |
      | survey's table | is a photograph of the camp        | dense.csv   | dense.json                       |
      | survey's table | lacks its last column              | dense.csv   | lacks BOTTOM                     |
      | pipeline       | is a photograph of the camp        | dense.json  | not JSON                         |
      | pipeline       | would run a command                | dense.json  | only + - * / ( ) on column names |
