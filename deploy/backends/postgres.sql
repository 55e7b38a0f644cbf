-- Runs once, when the database is empty.
CREATE DATABASE kratos;
CREATE DATABASE hydra;
CREATE DATABASE kong;
