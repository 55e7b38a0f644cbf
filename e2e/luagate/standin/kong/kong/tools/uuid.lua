return {
  is_valid_uuid = function(text)
    return #text == 36 and text:find("^%x+%-%x+%-%x+%-%x+%-%x+$") ~= nil
  end,
}
