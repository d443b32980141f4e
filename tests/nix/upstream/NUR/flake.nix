{
  description = "a stand-in for the Nix User Repositories";
  outputs = _: { };
}
