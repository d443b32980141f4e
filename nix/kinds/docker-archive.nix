# An archive for `docker load' with the systems of all roles; a container's command is its role's init.
{ lib }:
let
  boot = import ./parts/boot.nix { inherit lib; };
  store = import ./parts/store.nix { inherit lib; };
in
{
  module = { };

  image =
    {
      pkgs,
      roles,
      guest,
      name,
    }:
    let
      closure = pkgs.closureInfo { rootPaths = store.toplevels roles; };
      # gzip, the only compression that every docker loads.
      archive =
        pkgs.runCommand "${name}-docker.tar.gz"
          {
            nativeBuildInputs = [
              pkgs.gnutar
              pkgs.gzip
            ];
          }
          ''
            ${store.furnish closure}
            mkdir archive
            ${store.pack closure} >archive/layer.tar
            layer=$(sha256sum <archive/layer.tar)
            case $system in
              x86_64-*) architecture=amd64 ;;
              aarch64-*) architecture=arm64 ;;
              i686-*) architecture=386 ;;
              *) architecture=''${system%%-*} ;;
            esac
            cat >config.json <<END
            {"architecture":"$architecture","os":"linux","created":"1970-01-01T00:00:01Z",
            "config":{"Env":["container=docker"],"Labels":{"nxc.image":"nixos"},"StopSignal":"SIGRTMIN+3"},
            "rootfs":{"type":"layers","diff_ids":["sha256:''${layer%% *}"]}}
            END
            config=$(sha256sum <config.json)
            config=''${config%% *}
            mv config.json archive/$config.json
            # The tag says what is in it.
            printf '[{"Config":"%s.json","RepoTags":["nxc-nixos:%.12s"],"Layers":["layer.tar"]}]\n' $config $config \
              >archive/manifest.json
            tar --create --format=gnu --sort=name --mtime=@1 --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
              -C archive . | gzip -n >$out
          '';
    in
    {
      boot = { };
      roles = builtins.mapAttrs (_: role: role // { boot = null; }) (boot.describe roles);
      files."image.tar" = "${archive}";
    };
}
