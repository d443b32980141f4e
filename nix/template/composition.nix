# Two machines: `foo' finds `bar' by its name.
{ pkgs, ... }:
{
  roles = {
    foo =
      { pkgs, ... }:
      {
        environment.systemPackages = [ pkgs.curl ];
      };
    bar = { };
  };

  testScript = ''
    start_all()
    foo.wait_until_succeeds("ping -c 1 bar")
  '';
}
