# python3, python3Packages and python3.withPackages over Debian's python3-* packages.
{
  lib,
  kinds,
  mirrored,
}:
let
  # nixpkgs' name -> Debian's, where `python3-<name>` is wrong.
  different = {
    attrs = "python3-attr";
    beautifulsoup4 = "python3-bs4";
    clustershell = "python3-clustershell";
    opencv4 = "python3-opencv";
    pillow = "python3-pil";
    protobuf = "python3-protobuf";
    psycopg2 = "python3-psycopg2";
    pymysql = "python3-pymysql";
    pyserial = "python3-serial";
    python-dateutil = "python3-dateutil";
    pytorch = "python3-torch";
    pyyaml = "python3-yaml";
    pyzmq = "python3-zmq";
    ruamel-yaml = "python3-ruamel.yaml";
    scikit-learn = "python3-sklearn";
  };
  usual = [
    "click"
    "cryptography"
    "docker"
    "docopt"
    "flask"
    "httpx"
    "ipython"
    "jinja2"
    "jsonschema"
    "lxml"
    "matplotlib"
    "mpi4py"
    "netaddr"
    "networkx"
    "numpy"
    "packaging"
    "pandas"
    "paramiko"
    "pip"
    "pluggy"
    "plumbum"
    "prometheus-client"
    "psutil"
    "pydantic"
    "pytest"
    "redis"
    "requests"
    "rich"
    "scipy"
    "seaborn"
    "setuptools"
    "simplejson"
    "six"
    "sqlalchemy"
    "sympy"
    "tabulate"
    "tqdm"
    "typer"
    "urllib3"
    "websockets"
    "zeroconf"
  ];

  module =
    attribute: debian:
    kinds.package {
      inherit attribute;
      debian = [ debian ];
      command = attribute;
    };
  prefix = "python3-";
  fromMirror = map (name: lib.removePrefix prefix name) (lib.filter (lib.hasPrefix prefix) mirrored);
  modules =
    lib.genAttrs (usual ++ fromMirror) (name: module "${prefix}${name}" "${prefix}${name}")
    // builtins.mapAttrs (_: debian: module debian debian) different;

  interpreter =
    kinds.package {
      attribute = "python3";
      debian = [ "python3" ];
      command = "python3";
    }
    // {
      pkgs = modules;
      interpreter = "/usr/bin/python3";
      executable = "python3";
      sitePackages = "lib/python3/dist-packages";
      withPackages =
        choose:
        kinds.package {
          attribute = "python3-env";
          debian = [ "python3" ] ++ lib.concatMap (chosen: chosen.debianNames) (choose modules);
          command = "python3";
        };
    };
in
{
  python3 = interpreter;
  python311 = interpreter;
  python3Full = interpreter;
  python3Minimal = interpreter;
  python3Packages = modules;
  python311Packages = modules;
}
