CREATE ROLE visits LOGIN;
CREATE DATABASE visits OWNER visits;
\connect visits
SET ROLE visits;
CREATE TABLE visits (host text NOT NULL, at timestamptz NOT NULL DEFAULT now());
