# near name names: at most three of names that a person may have meant by name, the nearest first.
{ lib }:
name: names:
let
  # Edit distance by rows; names here are short and few.
  distance =
    a: b:
    let
      as = lib.stringToCharacters a;
      bs = lib.stringToCharacters b;
      first = lib.range 0 (builtins.length bs);
      next =
        row: char:
        let
          cells =
            builtins.foldl'
              (
                state: other:
                let
                  up = builtins.elemAt row (state.i + 1);
                  diagonal = builtins.elemAt row state.i + (if char == other then 0 else 1);
                  cell = lib.min (lib.min (up + 1) (state.left + 1)) diagonal;
                in
                {
                  i = state.i + 1;
                  left = cell;
                  row = state.row ++ [ cell ];
                }
              )
              {
                i = 0;
                left = builtins.head row + 1;
                row = [ (builtins.head row + 1) ];
              }
              bs;
        in
        cells.row;
    in
    lib.last (builtins.foldl' next first as);

  lower = lib.toLower name;
  rated = map (other: {
    inherit other;
    rating = if lib.toLower other == lower then 0 else distance lower (lib.toLower other);
  }) (lib.filter (other: other != name) names);
  limit = if builtins.stringLength name < 5 then 1 else 3;
  good = lib.filter (entry: entry.rating <= limit) rated;
in
lib.take 3 (map (entry: entry.other) (lib.sort (a: b: a.rating < b.rating) good))
