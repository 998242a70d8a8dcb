# PowerShell completion for rbox

Register-ArgumentCompleter -Native -CommandName 'rbox' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -lt $cursorPosition } | ForEach-Object { $_.ToString() })
    $arguments = @($words | Select-Object -Skip 1) + @("$wordToComplete")
    $lines = @(& $words[0] '__complete' @arguments 2>$null)
    if ($lines.Count -eq 0) { return }
    $directive = [int]$lines[-1].TrimStart(':')
    $space = if ($directive -band 2) { '' } else { ' ' }
    $prefix = if ($wordToComplete -match '^--[^=]+=') { $Matches[0] } else { '' }
    $lines | Select-Object -SkipLast 1 | ForEach-Object {
        $word, $description = $_ -split "`t", 2
        if (-not $description) { $description = $word }
        [System.Management.Automation.CompletionResult]::new("$prefix$word$space", $word, 'ParameterValue', $description)
    }
}
