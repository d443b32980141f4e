# The codes of the printable characters, tab, line feed and carriage return.
let
  printable = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~";
in
{
  "\t" = 9;
  "\n" = 10;
  "\r" = 13;
}
// builtins.listToAttrs (
  builtins.genList (n: {
    name = builtins.substring n 1 printable;
    value = 32 + n;
  }) (builtins.stringLength printable)
)
