{ pkgs, ... }:
let
  scripts = import ./scripts { inherit pkgs; };
in
{
  roles = {
    # Runs the experiment.
    control = {
      environment.systemPackages = [
        scripts.experiment
        scripts.summarise
      ];
    };
    # Has the measuring brick only.
    worker = {
      environment.systemPackages = [ scripts.measure ];
    };
  };

  testScript = ''
    start_all()
    worker.succeed("measure 3 > /tmp/measures.yaml")
    worker.fail("summarise /tmp/measures.yaml")
    control.succeed("experiment /tmp/measures.yaml 5")
    summary = control.succeed("summarise /tmp/measures.yaml")
    assert "measures: 5" in summary, summary
  '';
}
