return { plugin_attr = function() return nil end }
