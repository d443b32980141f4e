{ pkgs, ... }:
{
  roles = {
    foo =
      { pkgs, ... }:
      {
        environment.systemPackages = [ pkgs.hello ];
      };
    bar = {
      environment.etc."greeting".text = ''
        hello from bar
      '';
    };
  };

  testScript = ''
    start_all()
    foo.succeed("hello")
    assert "hello from bar" in bar.succeed("cat /etc/greeting")
    foo.succeed("getent hosts bar")
    bar.succeed("getent hosts foo")
  '';
}
