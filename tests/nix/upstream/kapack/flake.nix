{
  description = "a stand-in for a repository of packages";
  inputs.nixpkgs.url = "nixpkgs";
  outputs = _: { };
}
