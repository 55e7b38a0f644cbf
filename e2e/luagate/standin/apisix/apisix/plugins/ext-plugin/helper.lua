return { get_path = function() return "unix:" .. require("gateway").folder .. "/gatehouse.socket" end }
