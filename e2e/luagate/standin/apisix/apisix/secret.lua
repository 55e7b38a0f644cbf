return { fetch_secrets = function(conf) return conf end }
