"""Recovery of a damaged queue file for `doctor --rescue`: copies every readable row into a new queue file.

`copy` runs the rescue: it copies the tables and publishes the new file. `reader` opens a private copy of the damaged file,
`btree` parses its pages where SQL cannot reach them, and `salvage` reads the rows of one tree past unreadable pages. `repair`
fixes rows that refer to lost ones, and `report` counts what was rescued and lost.
"""
