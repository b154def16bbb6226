// A firewall policy of Front Door: 6,000 requests a minute from each address, counted at each edge server. To be bound to
// the domain by a security policy.
// Nothing here checks this file.

resource limit 'Microsoft.Network/FrontDoorWebApplicationFirewallPolicies@2022-05-01' = {
  name: 'limit'
  location: 'global'
  sku: { name: 'Standard_AzureFrontDoor' }
  properties: {
    policySettings: {
      mode: 'Prevention'
      enabledState: 'Enabled'
      customBlockResponseStatusCode: 429
    }
    customRules: {
      rules: [
        {
          name: 'eachClient'
          priority: 100
          ruleType: 'RateLimitRule'
          // 1 or 5.
          rateLimitDurationInMinutes: 1
          rateLimitThreshold: 6000
          action: 'Block'
          matchConditions: [
            {
              matchVariable: 'RequestUri'
              operator: 'Contains'
              matchValue: ['/']
            }
          ]
        }
      ]
    }
  }
}
